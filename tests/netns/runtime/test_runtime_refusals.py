"""Pods that get no network, as the agent is to report them: what failed, for whom, how often."""

from __future__ import annotations

from collections.abc import Callable

from quilt_proto import node_pb2
from quilt_runtime.troubles import STRIKES
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node


def arguments(pod: str) -> str:
    return f"IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod};K8S_POD_UID=uid-{pod}"


def refusals(node: Node) -> list[tuple[int, str, str]]:
    answer = node.config.GetStatus(node_pb2.GetStatusRequest())
    return [(one.count, one.pod, one.reason) for one in answer.add_refusals]


def test_a_pod_that_is_refused_again_and_again_is_reported_until_it_has_its_network(
    node: Node, make_netns: Callable[[], Namespace]
) -> None:
    """Each attempt of a container engine has another container: the pod's name says that it is the same."""
    pod = make_netns()
    for attempt in range(STRIKES - 1):
        assert node.cni("ADD", f"web{attempt}", pod.path, arguments=arguments("web-1")).code != 0
    assert not refusals(node)
    for attempt in range(2):
        assert node.cni("ADD", f"again{attempt}", pod.path, arguments=arguments("web-1")).code != 0
    [(count, name, reason)] = refusals(node)
    assert (count, name) == (2, "shop/web-1")
    assert "has no pod subnet yet" in reason
    node.give_subnet()
    assert node.cni("ADD", "web", pod.path, arguments=arguments("web-1")).code == 0
    assert node.cni("ADD", "web2", "/nowhere", arguments=arguments("web-1")).code != 0
    assert len(refusals(node)) == 1


def test_what_is_no_pods_is_not_reported(node: Node, make_netns: Callable[[], Namespace]) -> None:
    pod = make_netns()
    for attempt in range(STRIKES + 1):
        assert node.cni("ADD", f"container{attempt}", pod.path).code != 0
        node.cni("CHECK", f"container{attempt}", pod.path, arguments=arguments("web-1"))
    assert not refusals(node)
