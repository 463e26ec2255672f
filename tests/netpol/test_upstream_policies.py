"""Two suites that others wrote, on a cluster with the mesh: `make netpol`, some half an hour.

QUILT_TEST_CLUSTER names a running cluster to use, and to leave running; QUILT_NETPOL_FOCUS and
QUILT_CNP_FOCUS are regular expressions that choose tests by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from quilt_devcluster import Cluster, cnp, netpol
from tests.support.fresh import fresh_cluster
from tests.support.mesh import Mesh, install

pytestmark = pytest.mark.timeout(3 * 3600)
# All of Kubernetes 1.36 but those that need SCTP sockets.
NETPOL_TESTS = 47


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if name := os.environ.get("QUILT_TEST_CLUSTER"):
        cluster = Cluster.attach(name)
        install(Mesh(cluster), "network.policy.enabled=true")
        yield cluster
        return
    with fresh_cluster("netpol", nodes=3) as cluster:
        install(Mesh(cluster), "network.policy.enabled=true")
        yield cluster


def test_every_upstream_test_of_network_policies_passes(cluster: Cluster) -> None:
    focus = os.environ.get("QUILT_NETPOL_FOCUS", "")
    outcomes = netpol.run(cluster, focus, print)
    assert focus or len(outcomes) == NETPOL_TESTS
    assert failed(outcomes) == {}


def test_every_conformance_test_of_cluster_network_policies_passes(cluster: Cluster) -> None:
    assert failed(cnp.run(cluster, os.environ.get("QUILT_CNP_FOCUS", ""), print)) == {}


def failed(outcomes: Sequence[netpol.Outcome]) -> dict[str, str]:
    """Print what became of each, and return what those that failed printed last."""
    for outcome in outcomes:
        print(f"{'passed' if outcome.passed else 'FAILED'} {outcome.seconds:6.1f} s  {outcome.name}")
    return {outcome.name: outcome.message for outcome in outcomes if not outcome.passed}
