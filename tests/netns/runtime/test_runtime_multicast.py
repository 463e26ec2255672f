"""Multicast on: the bridge asks for members, pods' ports leave at once, TTL 1 survives; off: as before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from quilt_netlink import PLAIN, MulticastKernel, Snooping
from quilt_proto import node_pb2

from .conftest import Namespace, Node, eventually

CHAIN = "chain multicast"


def configure(node: Node, on: bool, fast_leave: bool = True) -> None:
    request = node_pb2.ConfigureRequest(multicast=on, multicast_fast_leave=fast_leave)
    answer = node.config.Configure(request)
    assert answer.success, answer.error


def snooping(node: Node) -> Snooping | None:
    with MulticastKernel.open(node.netns.path) as kernel:
        bridge = kernel.link("quilt0")
        return kernel.snooping(bridge.index) if bridge else None


def is_plain(node: Node) -> bool:
    """Whether the bridge is as the kernel makes it; its default intervals depend on the clock's rate."""
    held = snooping(node)
    return held is not None and replace(held, startup_query_intvl=3125) == PLAIN


def fast_leave(node: Node, port: str) -> bool | None:
    with MulticastKernel.open(node.netns.path) as kernel:
        link = kernel.link(port)
        return kernel.fast_leave(link.index) if link else None


def rules(node: Node) -> str:
    return node.netns.run("nft", "list", "table", "inet", "quilt")


def test_on_and_off(ready_node: Node, make_netns: Callable[[], Namespace]) -> None:
    ready_node.add_pod(make_netns())
    assert is_plain(ready_node)
    assert CHAIN not in rules(ready_node)
    configure(ready_node, on=True)
    assert snooping(ready_node) == Snooping()
    assert CHAIN in rules(ready_node)
    assert fast_leave(ready_node, "qv0a2a0102")
    ready_node.add_pod(make_netns())
    assert fast_leave(ready_node, "qv0a2a0103")
    configure(ready_node, on=True, fast_leave=False)
    assert not fast_leave(ready_node, "qv0a2a0102")
    configure(ready_node, on=False)
    assert is_plain(ready_node)
    assert CHAIN not in rules(ready_node)


def test_it_survives_restart_and_new_bridge(ready_node: Node, make_netns: Callable[[], Namespace]) -> None:
    ready_node.add_pod(make_netns())
    configure(ready_node, on=True)
    ready_node.kill()
    ready_node.netns.run("ip", "link", "del", "quilt0")
    ready_node.start()
    eventually(lambda: snooping(ready_node) == Snooping(), "the new bridge snoops")
    eventually(lambda: fast_leave(ready_node, "qv0a2a0102"), "the port leaves at once")
    assert CHAIN in rules(ready_node)


def test_what_others_change_is_put_right(ready_node: Node) -> None:
    configure(ready_node, on=True)
    ready_node.netns.run("ip", "link", "set", "quilt0", "type", "bridge", "mcast_querier", "0")
    eventually(lambda: snooping(ready_node) == Snooping(), "the bridge is the querier again")


def test_a_pods_interface_says_whose_it_is(ready_node: Node, make_netns: Callable[[], Namespace]) -> None:
    kubernetes = "IgnoreUnknown=1;K8S_POD_NAMESPACE=media;K8S_POD_NAME=camera-0;K8S_POD_INFRA_CONTAINER_ID=x"
    for arguments in (kubernetes, ""):
        ready_node.add_pod(make_netns(), arguments=arguments)
    with MulticastKernel.open(ready_node.netns.path) as kernel:
        assert kernel.alias("qv0a2a0102") == "media/camera-0"
        assert kernel.alias("qv0a2a0103") == ""
        assert kernel.alias("qv0a2a0104") is None
