"""Attachments that are not the first with their address, in their pod, or of a pod that has IPv6."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quilt_proto import node_pb2
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node, held, ping, show, veths

Make = Callable[[], Namespace]
STATIC = {"ips": ["10.42.1.77"]}
GATEWAY = "10.42.1.1"


@pytest.fixture
def dual_node(node: Node) -> Node:
    """A node with a subnet of each family."""
    cidrs = ["10.42.0.0/16", "fd42::/48"]
    request = node_pb2.ConfigureRequest(cluster_cidrs=cidrs, subnet_v6="fd42:0:0:1::/64")
    node.give_subnet()
    answer = node.config.Configure(request)
    assert answer.success, answer.error
    return node


def defaults(pod: Namespace, family: str = "-4") -> list[str]:
    """The devices of a pod's default routes, in its main table."""
    return [route["dev"] for route in show(pod, family, "route", "show", "default")]


def test_the_next_pod_with_an_address_is_reached_at_once(ready_node: Node, make_netns: Make) -> None:
    """t24: A neighbour entry with the MAC of the pod that had the address before is deleted."""
    first, second, other = make_netns(), make_netns(), make_netns()
    ready_node.add_pod(other)  # a bridge without a port forgets its neighbours by itself
    ready_node.add_pod(first, runtimeConfig={**STATIC, "mac": "0a:58:0a:2a:01:99"})
    ping(ready_node.netns, "10.42.1.77")
    assert ready_node.cni("DEL", first.name, first.path).code == 0
    ready_node.add_pod(second, runtimeConfig=STATIC)
    known = {entry.get("lladdr", "") for entry in show(ready_node.netns, "neigh", "show", "dev", "quilt0")}
    assert "0a:58:0a:2a:01:99" not in known
    ping(ready_node.netns, "10.42.1.77")


def add(node: Node, pod: Namespace, interface: str) -> dict[str, Any]:
    result = node.cni("ADD", pod.name, pod.path, interface=interface)
    assert result.code == 0, result.document
    return result.document


def test_the_same_network_twice_in_one_pod(ready_node: Node, make_netns: Make) -> None:
    """u7: A second attachment works, also with strict source checks, and makes no second default route."""
    pod = make_netns()
    pod.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.default.rp_filter=1")
    pod.run("sysctl", "-qw", "net.ipv4.conf.default.arp_ignore=1")
    first, second = add(ready_node, pod, "eth0"), add(ready_node, pod, "net1")
    assert [route["dst"] for route in first["routes"]] == ["0.0.0.0/0"]
    assert second["routes"] == []
    assert defaults(pod) == ["eth0"]
    own, other = (document["ips"][0]["address"].partition("/")[0] for document in (first, second))
    assert own != other
    for address in (own, other):
        ping(ready_node.netns, address)
        ping(pod, GATEWAY, "-I", address)
    for interface, document in (("eth0", first), ("net1", second)):
        checked = ready_node.cni("CHECK", pod.name, pod.path, interface=interface, prevResult=document)
        assert checked.code == 0, checked.document
    assert ready_node.cni("DEL", pod.name, pod.path, interface="net1").code == 0
    assert len(veths(ready_node)) == 1
    ping(ready_node.netns, own)


def test_a_network_beside_the_one_that_has_the_default_route(ready_node: Node, make_netns: Make) -> None:
    """u7: A pod whose default route is another network's keeps it."""
    pod = make_netns()
    pod.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other")
    for command in ("addr add 192.0.2.2/24 dev eth0", "link set eth0 up", "link set other up"):
        pod.run("ip", *command.split())
    pod.run("ip", "route", "add", "default", "via", "192.0.2.1")
    document = add(ready_node, pod, "net1")
    assert defaults(pod) == ["eth0"]
    ping(ready_node.netns, document["ips"][0]["address"].partition("/")[0])


@pytest.mark.parametrize("scope", ["all", "default"])
def test_ipv6_that_the_engine_switched_off(dual_node: Node, make_netns: Make, scope: str) -> None:
    """u7: IPv6 is switched on for the interface of a dual-stack pod, and for no other."""
    pod = make_netns()
    pod.run("sysctl", "-qw", f"net.ipv6.conf.{scope}.disable_ipv6=1")
    document = add(dual_node, pod, "eth0")
    assert [ip["address"].partition("/")[2] for ip in document["ips"]] == ["32", "128"]
    assert defaults(pod, "-6") == ["eth0"]
    ping(dual_node.netns, document["ips"][1]["address"].partition("/")[0])
    read = pod.run("sysctl", "-n", "net.ipv6.conf.default.disable_ipv6", "net.ipv6.conf.eth0.disable_ipv6")
    assert read.split() == ["1", "0"]
    assert len(held(dual_node)) == 1


@pytest.mark.parametrize(
    "entry", [{}, {"containerID": "c1"}, {"ifname": "eth0"}, {"containerID": None, "ifname": "eth0"}]
)
def test_an_incomplete_list_of_attachments_frees_nothing(
    ready_node: Node, make_netns: Make, entry: object
) -> None:
    """s10: GC with an entry that lacks one of its two strings is refused with code 7, nothing is freed."""
    pod = make_netns()
    before = {pod.name: ready_node.add_pod(pod)}
    listed = [{"containerID": "other", "ifname": "eth0"}, entry]
    result = ready_node.cni("GC", version="1.1.0", **{"cni.dev/valid-attachments": listed})
    assert held(ready_node) == before
    assert (result.code, result.document.get("code")) == (1, 7)
