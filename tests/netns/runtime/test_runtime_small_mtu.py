"""An underlay with small packets, a VPN's say: what works with it works, and what does not is reported."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quilt_proto import node_pb2
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node, ping, show

Make = Callable[[], Namespace]
PEER, SECOND = "198.18.0.2", "198.18.0.3"


def configure(node: Node, **fields: object) -> str:
    """Configure; return why some of it was refused."""
    request = node_pb2.ConfigureRequest(**fields)  # type: ignore[arg-type]
    error: str = node.config.Configure(request).error
    return error


def known(node: Node, peer: str) -> bool:
    """Whether the overlay's packets are taken from a peer."""
    return peer in node.netns.run("nft", "list", "table", "inet", "quilt")


def mtu_of(netns: Namespace, name: str) -> int:
    return int(show(netns, "link", "show", "dev", name)[0]["mtu"])


def test_pods_of_a_small_underlay_reach_each_other(ready_node: Node, make_netns: Make) -> None:
    """t21: An underlay of MTU 1280 works: pods and bridge have 1230, peers are taken in."""
    assert configure(ready_node, mtu=1230, overlay_sources=[PEER]) == ""
    one, two = make_netns(), make_netns()
    ready_node.add_pod(one)
    second = ready_node.add_pod(two)
    ping(one, second, "-s", "1202", "-M", "do")
    assert (mtu_of(ready_node.netns, "quilt0"), mtu_of(one, "eth0")) == (1230, 1230)
    assert known(ready_node, PEER)


def test_a_small_underlay_says_why_there_is_no_ipv6(ready_node: Node, make_netns: Make) -> None:
    """t21: Where the network has IPv6 ranges, a node whose MTU is below 1280 says why it has none."""
    cidrs = ["10.42.0.0/16", "fd42:42::/48"]
    fields = {"cluster_cidrs": cidrs, "subnet_v6": "fd42:42:0:1::/64", "overlay_sources": [PEER]}
    assert configure(ready_node, mtu=1450, **fields) == ""
    answer = configure(ready_node, mtu=1230, **{**fields, "overlay_sources": [PEER, SECOND]})
    assert "MTU 1230 is too small for IPv6" in answer
    assert known(ready_node, SECOND)
    assert mtu_of(ready_node.netns, "quilt0") == 1230
    pod = make_netns()
    refused = ready_node.cni("ADD", pod.name, pod.path)
    assert "MTU 1230 is too small for IPv6" in str(refused.document)
    assert configure(ready_node, mtu=1280, **fields) == ""
    assert ":" in str(ready_node.add_pod(pod) and show(pod, "-6", "address", "show", "dev", "eth0"))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"mtu": 100}, "MTU 100"),
        ({"vxlan_port": 70000}, "VXLAN port 70000"),
        ({"vxlan_interface": "a b"}, "a b"),
        ({"cluster_cidrs": ["10.42.0.1/16"]}, "10.42.0.1/16"),
        ({"node_prefix_length": 33}, "Prefix length 33"),
    ],
)
def test_a_field_out_of_range_holds_no_peer_back(
    ready_node: Node, fields: dict[str, object], reason: str
) -> None:
    """t21: A field that cannot be used is refused by itself: peers are taken in, the rest stays."""
    assert configure(ready_node, mtu=1400, overlay_sources=[PEER]) == ""
    assert reason in configure(ready_node, overlay_sources=[PEER, SECOND], **fields)
    assert known(ready_node, PEER)
    assert known(ready_node, SECOND)
    assert mtu_of(ready_node.netns, "quilt0") == 1400
