"""Kubernetes' own tests of network policies on a cluster with the mesh: `make netpol`, some 40 minutes.

QUILT_TEST_CLUSTER names a running cluster to use, and to leave running; QUILT_NETPOL_FOCUS is a regular
expression that chooses tests by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from quilt_devcluster import Cluster, netpol
from tests.support.fresh import fresh_cluster
from tests.support.mesh import Mesh, install

pytestmark = pytest.mark.timeout(3 * 3600)
FOCUS = os.environ.get("QUILT_NETPOL_FOCUS", "")
# All of 1.36 but those that need SCTP sockets.
TESTS = 47


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    if name := os.environ.get("QUILT_TEST_CLUSTER"):
        yield Cluster.attach(name)
        return
    with fresh_cluster("netpol", nodes=3) as cluster:
        yield cluster


def test_every_upstream_test_of_network_policies_passes(cluster: Cluster) -> None:
    install(Mesh(cluster), "network.policy.enabled=true")
    outcomes = netpol.run(cluster, FOCUS or "Netpol", print)
    for outcome in outcomes:
        print(f"{'passed' if outcome.passed else 'FAILED'} {outcome.seconds:6.1f} s  {outcome.name}")
    assert FOCUS or len(outcomes) == TESTS
    failed = {outcome.name: outcome.message for outcome in outcomes if not outcome.passed}
    assert not failed
