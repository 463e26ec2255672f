"""Small pure decisions: settings, host address, device, conditions, hardware."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_crds.names import UP
from quilt_crds.underlay import OnHost
from quilt_crds.wire import Condition
from quilt_crds.wire_network import UnderlaySpec, VxlanSpec
from quilt_netlink import Link
from quilt_netlink.fake import FakeKernel
from quilt_nodeagent.core.conditions import claim, dataplane, runtime
from quilt_nodeagent.core.device import Care, clash, former, judge
from quilt_nodeagent.core.network import Network, read_network
from quilt_nodeagent.core.overlay import VXLAN, Hop
from quilt_nodeagent.core.peer import make_peer
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.core.underlay import Direct, Wishes, choose, follow_choice, on_link
from quilt_nodeagent.view import View

WANTED = VXLAN.device("vxlan100", "198.18.0.1", "02:00:00:00:00:01", 1450)


def but(link: Link, **parameters: Any) -> Link:
    """The same with other parameters of VXLAN."""
    assert link.vxlan is not None
    return replace(link, vxlan=replace(link.vxlan, **parameters))


def test_an_empty_spec_has_the_defaults() -> None:
    assert read_network({}) == Network()


def test_a_full_spec_is_read() -> None:
    spec: dict[str, Any] = {
        "clusterCIDRs": ["10.0.0.0/8"],
        "clusterCIDRsV6": ["fd00::/48"],
        "vxlan": {"vni": 7, "port": 8472, "device": "mesh0", "mtu": 1400},
        "heartbeat": {"interval": "5s", "timeout": "1m"},
        "nodeDownPolicy": "Keep",
    }
    network = read_network(spec)
    assert network.cidrs == ("10.0.0.0/8", "fd00::/48")
    assert network.dual_stack
    assert network.vxlan == VxlanSpec(7, 8472, "mesh0", 1400)
    assert (network.heartbeat_interval, network.heartbeat_timeout) == (5.0, 60.0)
    assert network.node_down_policy == "Keep"


def test_a_bad_setting_is_named() -> None:
    with pytest.raises(ValueError, match="interval of the QuiltNetwork"):
        read_network({"heartbeat": {"interval": "soon"}})


@pytest.mark.parametrize(
    ("spec", "on"), [({}, True), ({"spoofGuard": True}, True), ({"spoofGuard": False}, False)]
)
def test_the_guard_is_on_unless_it_is_turned_off(spec: dict[str, bool], on: bool) -> None:
    assert read_network(spec).spoof_guard is on


@pytest.mark.parametrize(("host", "mtu"), [("198.18.0.1", 1450), ("2001:db8::1", 1430)])
def test_row_10_an_ipv6_underlay_needs_70_bytes(host: str, mtu: int) -> None:
    assert Network().device_mtu(1500, host) == mtu
    assert Network(vxlan=VxlanSpec(mtu=1300)).device_mtu(1500, host) == 1300


LOCAL = ("10.0.2.15", "198.18.0.1")


@pytest.mark.parametrize(
    ("flag", "spec", "internal_ips", "default_source", "address", "reason"),
    [
        ("192.0.2.9", "192.0.2.8", [], "", "192.0.2.9", "--host-ip"),
        ("", "198.18.0.1", ["10.0.2.15"], "", "198.18.0.1", "spec.hostIP"),
        ("", "", ["203.0.113.1", "198.18.0.1"], "10.0.2.15", "198.18.0.1", "InternalIP"),
        ("", "", ["203.0.113.1"], "10.0.2.15", "10.0.2.15", "203.0.113.1"),
        ("", "", [], "10.0.2.15", "10.0.2.15", "no InternalIP"),
    ],
)
def test_row_5_the_choice_of_the_host_address_is_explained(
    flag: str, spec: str, internal_ips: list[str], default_source: str, address: str, reason: str
) -> None:
    """The wrong of two NICs: the Node's InternalIP decides, not whichever interface comes first."""
    chosen = choose(Wishes(flag, spec, internal_ips=internal_ips), default_source, LOCAL)
    assert chosen is not None
    assert chosen.address == address
    assert reason in chosen.reason
    assert chosen.local == (address in LOCAL)


def test_without_any_address_nothing_is_chosen() -> None:
    assert choose(Wishes(), "", LOCAL) is None


ETH1 = UnderlaySpec("eth1")


@pytest.mark.parametrize(
    ("wishes", "by_network"),
    [
        (Wishes(choice=ETH1, internal_ips=["198.18.0.1"]), True),
        (Wishes(choice=UnderlaySpec(cidrs=("192.0.2.0/24",))), True),
        (Wishes(internal_ips=["198.18.0.1"]), False),
        (Wishes("192.0.2.9", choice=ETH1), False),
        (Wishes(spec="192.0.2.8", choice=ETH1), False),
    ],
)
def test_the_networks_choice_counts_after_what_is_set_for_one_node(wishes: Wishes, by_network: bool) -> None:
    assert wishes.by_network is by_network


ADDRESSES = st.lists(
    st.builds(
        OnHost,
        st.sampled_from(["eth0", "eth1", "lo"]),
        st.sampled_from(
            ["198.18.0.1/24", "192.0.2.1/24", "10.42.1.1/24", "2001:db8::1/64", "fe80::1/64"]
        ).map(ip_interface),
    ),
    max_size=5,
)


@given(st.sampled_from([ETH1, UnderlaySpec("eth*"), UnderlaySpec("", ("192.0.2.0/24",))]), ADDRESSES)
def test_a_host_address_is_chosen_among_those_of_the_host_or_there_is_a_reason(
    choice: UnderlaySpec, addresses: list[OnHost]
) -> None:
    for held in ("", "198.18.0.1", "203.0.113.9"):
        chosen, unmet = follow_choice(Wishes(choice=choice, held=held, mesh=["10.42.0.0/16"]), addresses)
        if chosen is not None:
            assert chosen.local
            assert chosen.address in {item.ip for item in addresses} - {"10.42.1.1", "fe80::1"}
        if unmet:
            assert unmet.endswith(
                "Correct underlay of the QuiltNetwork, or set spec.hostIP of the QuiltNode."
            )
            assert chosen is None or (chosen.address, chosen.reason) == (held, "as before")
        else:
            assert chosen is not None
            assert chosen.reason.startswith("underlay.")


@pytest.mark.parametrize(
    ("held", "care"),
    [
        (None, "create"),
        (replace(WANTED, index=7), "nothing"),
        (replace(WANTED, mtu=1500), "repair"),
        (but(WANTED, local="198.18.0.2"), "repair"),
        (but(WANTED, learning=True), "repair"),
        (replace(WANTED, up=False), "repair"),
        (replace(WANTED, addrgenmode=0), "repair"),
        (but(WANTED, vni=7), "recreate"),
        (but(WANTED, port=8472), "recreate"),
        (but(WANTED, device=2), "recreate"),
        (replace(WANTED, kind="bridge"), "refuse"),
    ],
)
def test_what_a_device_needs(held: Link | None, care: Care) -> None:
    if held is not None and care != "nothing":
        held = replace(held, index=7)
    assert judge(replace(WANTED, index=held.index if held else 0), held)[0] == care


def test_row_11_a_clash_names_the_other_device_and_what_to_do() -> None:
    other = replace(WANTED, name="flannel.1", mac="02:00:00:00:00:02")
    assert "flannel.1" in (clash(WANTED, [WANTED, other]) or "")
    assert clash(WANTED, [but(other, port=8472), replace(other, kind="veth")]) is None


def test_our_device_under_another_name_is_recognized() -> None:
    renamed, foreign = replace(WANTED, name="renamed0"), replace(WANTED, name="x", mac="02:00:00:00:00:02")
    assert former(WANTED, [WANTED, renamed, foreign]) == [renamed]
    assert clash(WANTED, [renamed]) is None


@pytest.mark.parametrize(
    ("condition", "kind", "expected"),
    [
        (dataplane(False, False, [], []), "DataplaneInSync", ("Unknown", "Starting")),
        (dataplane(True, False, [], []), "DataplaneInSync", ("False", "Reconciling")),
        (dataplane(True, True, [], []), "DataplaneInSync", ("True", "InSync")),
        (dataplane(True, True, [], ["w"]), "DataplaneInSync", ("True", "Warning")),
        (dataplane(True, True, ["p"], []), "DataplaneInSync", ("False", "Problem")),
        (runtime("gone", [], []), "RuntimeReady", ("False", "Unavailable")),
        (runtime("", ["p"], []), "RuntimeReady", ("False", "Problem")),
        (runtime("", [], ["w"]), "RuntimeReady", ("True", "Warning")),
        (runtime("", [], []), "RuntimeReady", ("True", "Ready")),
        (claim(False, False, ""), "ClaimLost", ("False", "AwaitingClaim")),
        (claim(True, True, ""), "ClaimLost", ("False", "Claimed")),
        (claim(True, False, "10.42.1.0/24"), "ClaimLost", ("True", "NoClaim")),
        (claim(False, False, "10.42.1.0/24"), "ClaimLost", ("False", "AwaitingClaim")),
    ],
)
def test_conditions(condition: Condition, kind: str, expected: tuple[str, str]) -> None:
    assert (condition.type, condition.status, condition.reason) == (kind, *expected)


def test_memory_is_reported_in_megabytes() -> None:
    total, kilobytes, _ = Path("/proc/meminfo").read_text().split(maxsplit=2)
    assert total == "MemTotal:"
    view = View(FakeKernel(), PeerTable("self", "vxlan100"), "self", "default", "")
    assert view.status_facts("1")["memory_mb"] == int(kilobytes) * 1024 // 1_000_000


@pytest.mark.parametrize(
    ("routes", "host", "direct"),
    [
        ([("198.18.0.0/24", True)], "198.18.0.9", True),
        ([("198.18.0.0/24", True)], "198.18.1.9", False),
        ([("0.0.0.0/0", True)], "198.18.0.9", False),
        ([("198.18.0.0/16", True), ("198.18.3.0/24", False)], "198.18.3.9", False),
        ([("198.18.0.0/16", True), ("198.18.3.0/24", False)], "198.18.4.9", True),
        ([("198.18.0.0/16", False), ("198.18.3.0/24", True)], "198.18.3.9", True),
        ([("198.18.0.0/16", True), ("198.18.3.9/32", False)], "198.18.3.9", False),
        ([("198.18.0.0/24", True)], "2001:db8::9", False),
        ([("2001:db8::/64", True)], "2001:db8::9", True),
        ([("198.18.0.7/32", True)], "198.18.0.7", True),
    ],
)
def test_the_longest_route_of_the_host_tells_who_is_on_the_link(
    routes: list[tuple[str, bool]], host: str, direct: bool
) -> None:
    assert Direct("eth0", on_link(routes)).reaches(host) is direct


def test_only_peers_on_the_link_are_routed_without_encapsulation() -> None:
    table = PeerTable("self", "vxlan100")
    near = make_peer("default", "10.42.2.0/24", "a", UP, "198.18.0.2")
    far = make_peer("default", "10.42.3.0/24", "b", UP, "198.18.9.3")
    six = make_peer("default", "fd42:0:0:2::/64", "a", UP, "198.18.0.2")
    table.replace([near, far, six])
    link = Direct("eth0", {"198.18.0.0/24": True})
    assert table.follow(replace(table.way, direct=link)) == {("route", near.cidr)}
    assert not table.follow(replace(table.way, direct=Direct("eth0", {"198.18.0.0/24": True})))
    routes = table.desired()["route"]
    assert routes[near.cidr] == Hop("198.18.0.2", "eth0")
    assert routes[far.cidr] == Hop("10.42.3.0", "vxlan100")
    assert routes[six.cidr] == Hop("fd42:0:0:2::", "vxlan100")
    assert table.follow(replace(table.way, direct=None)) == {("route", near.cidr)}
