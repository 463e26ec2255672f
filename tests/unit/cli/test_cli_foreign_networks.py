"""Another pod network that nothing of the cluster's objects tells of by name."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from quilt_cli.core import cluster_checks
from quilt_cli.core.cluster_facts import ClusterFacts
from quilt_cli.core.finding import Level
from quilt_crds.wire import Node
from quilt_kube.decoding import convert
from tests.support import cli_snapshots as some

CIDRS = ("10.42.0.0/16",)
numbers = itertools.count(1)


def k3s_node(**annotations: str) -> dict[str, Any]:
    """A Node as k3s leaves it."""
    status = {"nodeInfo": {"kubeletVersion": "v1.36.1+k3s1", "kernelVersion": "6.12.0"}}
    metadata = {"name": f"n{next(numbers)}", "annotations": annotations}
    return {"metadata": metadata, "spec": {"podCIDRs": ["10.43.7.0/24"]}, "status": status}


def cluster(*nodes: dict[str, Any]) -> ClusterFacts:
    return ClusterFacts(
        version="v1.36.1+k3s1",
        namespace="quilt-system",
        crds={},
        foreign=(),
        service_cidrs=("10.96.0.0/16",),
        nodes=tuple(convert(node, Node) for node in nodes),
        mesh=some.healthy(),
    )


def test_a_flannel_built_into_the_kubelet_is_named() -> None:
    """t20: `quiltctl check --pre` fails and names nodes whose kubelet has a Flannel in it, as k3s."""
    flannel = k3s_node(**{"flannel.alpha.coreos.com/backend-type": "vxlan"})
    found = cluster_checks.before(cluster(k3s_node(), flannel), CIDRS)
    failed = [(item.about, item.message) for item in found if item.level is Level.FAIL]
    name = flannel["metadata"]["name"]
    text = f"Flannel without a DaemonSet, as k3s has it built in, serves {name} (v1.36.1+k3s1)"
    assert failed == [("Nodes", text)]


@pytest.mark.parametrize("annotations", [{}, {"k3s.io/hostname": "n1"}])
def test_a_k3s_without_flannel_is_fine(annotations: dict[str, str]) -> None:
    found = cluster_checks.before(cluster(k3s_node(**annotations)), CIDRS)
    assert [item for item in found if item.level is Level.FAIL] == []
