"""`quiltctl trace` on real kernels: a sound pair is sound, of a planted fault exactly that step is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.support.namespaces import Namespace
from tests.support.trace_world import Node, set_up, traced

World = tuple[Namespace, tuple[Node, Node]]


@pytest.fixture
def world(make_netns: Callable[[], Namespace]) -> World:
    switch = make_netns()
    nodes = (Node(1, make_netns(), make_netns()), Node(2, make_netns(), make_netns()))
    set_up(switch, nodes)
    return switch, nodes


@dataclass(frozen=True)
class Fault:
    """What is done where (a node's number, or 0: the switch), and the step that it breaks."""

    number: int
    script: str
    code: str
    found: str


N1_MAC, N2_MAC = Node(1, Namespace(""), Namespace("")).mac, Node(2, Namespace(""), Namespace("")).mac
FAULTS = {
    "route": Fault(1, "ip route del 10.42.2.0/24", "route", "absent: 10.42.0.0/16 unreachable"),
    "route of the answer": Fault(2, "ip route del 10.42.1.0/24", "route", "absent"),
    "next hop": Fault(1, "ip nexthop del id 170525184", "nexthop", "absent"),
    "next hop elsewhere": Fault(
        1,
        "ip nexthop replace id 170525184 via 10.42.9.0 dev vxlan100 onlink proto 81",
        "nexthop",
        "via 10.42.9.0",
    ),
    "neighbor": Fault(1, "ip neigh del 10.42.2.0 dev vxlan100", "neighbor", "absent"),
    "FDB": Fault(1, f"bridge fdb del {N2_MAC} dev vxlan100 dst 192.0.2.2", "fdb", "absent"),
    "FDB elsewhere": Fault(
        2, f"bridge fdb replace {N1_MAC} dev vxlan100 dst 192.0.2.9", "fdb", "to 192.0.2.9"
    ),
    "guard": Fault(2, "nft flush set bridge quilt own_v4", "guard", "absent"),
    "MTU": Fault(1, "ip link set vxlan100 mtu 1000", "mtu", "vxlan100 1000"),
    "rp_filter": Fault(2, "sysctl -qw net.ipv4.conf.vxlan100.rp_filter=1", "rp_filter", "1 (strict)"),
    "FORWARD": Fault(
        1,
        "nft add table inet wall; nft add chain inet wall f '{ type filter hook forward priority 0; }';"
        "nft add rule inet wall f iifname quilt0 oifname vxlan100 counter drop",
        "forward",
        "dropped by inet wall f: iifname quilt0 oifname vxlan100 drop",
    ),
    "FORWARD of iptables": Fault(
        2, "iptables-nft -I FORWARD -i vxlan100 -j DROP", "forward", "dropped by iptables filter FORWARD"
    ),
    "bridge port": Fault(1, "ip link set qv0a2a0105 nomaster", "port", "in no bridge"),
    "port that does not forward": Fault(2, "bridge link set dev qv0a2a0205 state 0", "port", "disabled"),
    "interface": Fault(2, "ip link set qv0a2a0205 down", "interface", "not up"),
    "source of the overlay": Fault(2, "nft flush set inet quilt overlay_sources_v4", "input", "dropped by"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_the_first_broken_step(world: World, name: str) -> None:
    _, nodes = world
    fault = FAULTS[name]
    node = nodes[fault.number - 1]
    node.host.run("sh", "-ec", fault.script)
    found = traced(nodes, probing=False)
    broken = found.broken
    assert broken is not None, found.steps
    assert (broken.code, broken.node) == (fault.code, node.name), broken
    assert fault.found in broken.found
    assert broken.see
    assert found.exit_code == 1


def test_a_sound_pair_is_sound(world: World) -> None:
    _, nodes = world
    found = traced(nodes, "--seconds=60")  # so long may one of them start after the other
    assert [step for step in found.steps if step.verdict != "ok"] == []
    assert (found.sound, found.exit_code) == (True, 0)
    assert traced(nodes, probing=False).exit_code == 0


def test_what_the_kernel_learned_of_a_path_is_no_other_route(world: World) -> None:
    """It keeps for ten minutes that a larger packet did not fit, and lists it among the routes."""
    _, nodes = world
    host = nodes[0].host
    host.run("ip", "link", "set", "eth0", "mtu", "1400")
    host.run("sh", "-c", "ping -q -c 2 -i 0.2 -W 1 -M do -s 1400 10.42.2.0 || true")
    host.run("ip", "link", "set", "eth0", "mtu", "1500")
    learned = [route["dst"] for route in nodes[0].dump()["routes"] if "cache" in route.get("flags", ())]
    assert learned == ["10.42.2.0/32"]
    found = traced(nodes, probing=False)
    assert found.sound, found.broken


def drop_on(switch: Namespace, condition: str) -> None:
    """Drop in the underlay what the first node sends."""
    for line in (
        "add table bridge cut",
        "add chain bridge cut f { type filter hook forward priority 0 ; }",
        f"add rule bridge cut f iifname port1 {condition} drop",
    ):
        switch.run("nft", line)


def test_what_is_dropped_one_way_below_is_named_with_its_direction(world: World) -> None:
    """Nothing of either kernel shows it: packets do."""
    switch, nodes = world
    drop_on(switch, "udp dport 4789")
    found = traced(nodes)
    broken = found.broken
    assert broken is not None
    assert (broken.code, broken.what) == ("underlay", "packets n1 → n2")
    back = next(step for step in found.steps if step.what == "packets n2 → n1")
    assert back.verdict == "ok"


def test_a_path_that_is_too_small_below_is_named(world: World) -> None:
    switch, nodes = world
    drop_on(switch, "meta length > 1400")
    found = traced(nodes)
    assert found.broken is not None, [step for step in found.steps if step.verdict != "ok"]
    assert (found.broken.code, found.broken.what) == ("underlay-mtu", "packets of 1450 bytes n1 → n2")
