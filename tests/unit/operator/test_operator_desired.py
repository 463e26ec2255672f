"""What a node should have and publish, and what is reported of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from quilt_crds.names import DOWN, RELEASING, UP
from quilt_crds.underlay import believed
from quilt_crds.wire import (
    Condition,
    Mesh,
    Meta,
    Node,
    NodeAddress,
    NodeStatus,
    QuiltNode,
    QuiltNodeStatus,
    QuiltSubnet,
)
from quilt_kube.decoding import convert
from quilt_operator.core import status
from quilt_operator.core.chart import covers, merged
from quilt_operator.core.desired import Address, address, confirmed, mesh, plan_claims, wishes
from quilt_operator.core.health import Health
from quilt_operator.core.status import Refusal
from quilt_operator.core.times import grace_left, parse_time, rfc3339
from tests.support.operator_doubles import but, made_claim

NOW = "2026-01-02T03:04:05Z"
LATER = "2026-01-02T03:04:06Z"
NODE = QuiltNode(Meta("node-1", uid="u"), status=QuiltNodeStatus(host_ip="192.0.2.1"))


def at(*ips: str) -> Node:
    return Node(Meta("node-1"), status=NodeStatus(tuple(NodeAddress("InternalIP", ip) for ip in ips)))


HOST = at("192.0.2.1")


UNUSED = Mesh(DOWN)
USED = Mesh(UP, "192.0.2.1")


def nobody(_: str) -> None:
    return None


def claim(cidr: str, phase: str = UP) -> QuiltSubnet:
    return made_claim(cidr, "node-1", Mesh(phase, "192.0.2.1"))


# The address to publish


def test_a_host_ip_that_the_node_confirms_is_published() -> None:
    assert address(NODE, HOST, UNUSED, nobody) == Address("192.0.2.1")


def test_an_unconfirmed_one_is_not_and_the_former_stays() -> None:
    moved = but(NODE, "status", host_ip="192.0.2.9")
    assert address(moved, HOST, UNUSED, nobody).host_ip == ""
    assert address(moved, HOST, USED, nobody).host_ip == "192.0.2.1"
    found = address(moved, HOST, UNUSED, nobody)
    assert found.reason == "HostIPUnconfirmed"
    assert "192.0.2.9" in found.message
    assert "spec.hostIP" in found.message


def test_without_a_node_nothing_is_confirmed() -> None:
    assert address(NODE, None, UNUSED, nobody).reason == "HostIPUnconfirmed"


def test_an_administrators_host_ip_needs_no_confirmation() -> None:
    chosen = but(NODE, "spec", host_ip="203.0.113.1")
    assert address(chosen, None, USED, nobody) == Address("203.0.113.1")


def test_row_5_another_confirmed_host_ip_replaces_the_former() -> None:
    moved = but(NODE, "status", host_ip="192.0.2.2")
    host = at("192.0.2.2")
    assert address(moved, host, USED, nobody) == Address("192.0.2.2")


def test_of_two_nodes_with_one_host_ip_the_first_keeps_it() -> None:
    found = address(NODE, HOST, UNUSED, lambda _: "node-2")
    assert (found.host_ip, found.reason) == ("", "HostIPConflict")
    assert address(NODE, HOST, USED, lambda _: "node-2") == Address("192.0.2.1")


def test_who_was_down_meanwhile_does_not_get_its_host_ip_back_from_its_new_holder() -> None:
    found = address(NODE, HOST, Mesh(DOWN, "192.0.2.1"), lambda _: "node-2")
    assert (found.host_ip, found.reason) == ("", "HostIPConflict")


ETH1 = but(NODE, "status", host_ip="203.0.113.1")


@pytest.mark.parametrize(
    ("underlay", "reason"),
    [
        ((), "HostIPUnconfirmed"),
        (("203.0.113.0/24",), ""),
        (("198.51.100.0/24", "203.0.113.0/24"), ""),
        (("198.51.100.0/24",), "HostIPUnconfirmed"),
        (("2001:db8::/32",), "HostIPUnconfirmed"),
    ],
)
def test_an_agents_word_is_enough_in_the_networks_of_the_underlay(
    underlay: tuple[str, ...], reason: str
) -> None:
    found = address(ETH1, HOST, USED, nobody, believed("", underlay))
    assert (found.host_ip, found.reason) == ("192.0.2.1" if reason else "203.0.113.1", reason)
    assert ("underlay.cidrs (" in found.message) is bool(reason and underlay)


def test_an_agents_word_is_enough_where_an_interface_was_chosen_without_networks() -> None:
    assert address(ETH1, HOST, USED, nobody, believed("eth1", ())) == Address("203.0.113.1")
    assert address(ETH1, None, USED, nobody, believed("eth1", ())).reason == "HostIPUnconfirmed"


def test_what_the_node_confirms_is_published_outside_of_those_networks_too() -> None:
    assert address(NODE, HOST, UNUSED, nobody, believed("", ["203.0.113.0/24"])) == Address("192.0.2.1")


def test_nobody_holds_an_address_of_the_underlay_that_its_agent_has_left() -> None:
    underlay = believed("", ["203.0.113.0/24"])
    assert confirmed("203.0.113.1", ETH1, HOST, underlay)
    assert not confirmed("203.0.113.2", ETH1, HOST, underlay)
    assert not confirmed("203.0.113.1", but(ETH1, "spec", host_ip="203.0.113.2"), HOST, underlay)


# Claims


def test_a_new_node_needs_one_subnet_of_each_family() -> None:
    assert plan_claims(NODE, [], [4, 6], {}).create == ((4, ""), (6, ""))


def test_a_node_that_comes_back_gets_back_its_subnet() -> None:
    old = claim("10.42.7.0/24", RELEASING)
    plan = plan_claims(NODE, [(4, old)], [4], {})
    assert (plan.keep, plan.create, plan.release) == ((old,), (), ())


@pytest.mark.parametrize("node", [None, but(NODE, "metadata", deletion_timestamp=NOW)])
def test_a_node_that_left_gives_up_everything(node: QuiltNode | None) -> None:
    mine = [(4, claim("10.42.1.0/24")), (6, claim("fd42::/64"))]
    plan = plan_claims(node, mine, [4, 6], {})
    assert (plan.keep, plan.create) == ((), ())
    assert len(plan.release) == 2


def test_row_15_of_two_claims_the_one_that_the_runtime_serves_stays() -> None:
    """Until it says which that is both stay, and where no agent ever reported the oldest."""
    mine = first, second = claim("10.42.1.0/24"), claim("10.42.2.0/24")
    owned = [(4, first), (4, second)]
    for served in mine:
        says = but(NODE, "status", served_subnets=(served.cidr,))
        assert plan_claims(says, owned, [4], {}).keep == (served,)
    assert plan_claims(NODE, owned, [4], {}).keep == mine
    again = replace(NODE, status=QuiltNodeStatus())
    assert plan_claims(again, owned, [4], {}).keep == mine
    prepared = but(again, "spec", host_ip="192.0.2.1")
    assert plan_claims(prepared, owned, [4], {}).keep == (first,)
    leaving = claim("10.42.1.0/24", RELEASING)
    assert plan_claims(NODE, [(4, leaving), (4, second)], [4], {}).keep == (second,)


def test_a_requested_subnet_replaces_the_present_one_only_once_the_runtime_serves_it() -> None:
    asking = but(NODE, "spec", subnet="10.42.9.0/24")
    wanted = wishes(asking, HOST, adopts=False)
    have, got = claim("10.42.1.0/24"), claim("10.42.9.0/24")
    before = plan_claims(asking, [(4, have)], [4], wanted)
    assert (before.keep, before.create, before.release) == ((have,), ((4, "10.42.9.0/24"),), ())
    granted = plan_claims(asking, [(4, have), (4, got)], [4], wanted)
    assert (granted.keep, granted.create, granted.release) == ((have, got), (), ())
    assert granted.moves == ((have, got),)
    served = but(asking, "status", served_subnets=("10.42.9.0/24",))
    after = plan_claims(served, [(4, have), (4, got)], [4], wanted)
    assert (after.keep, after.create, after.release) == ((got,), (), (have,))
    assert not after.moves


def test_pod_cidrs_of_the_node_are_its_subnets_and_no_others_are_asked_for() -> None:
    host = but(HOST, "spec", pod_cidrs=("10.42.0.0/24", "fd42::/64", "nonsense"))
    wanted = wishes(but(NODE, "spec", subnet="10.42.9.0/24"), host, adopts=True)
    assert wanted == {4: "10.42.0.0/24", 6: "fd42::/64"}
    assert plan_claims(NODE, [], [4, 6], wanted, only_wanted=True).create == tuple(wanted.items())
    assert wishes(NODE, None, adopts=True) == {}
    assert plan_claims(NODE, [], [4], {}, only_wanted=True).create == ()
    have = claim("10.42.1.0/24")
    assert plan_claims(NODE, [(4, have)], [4], {}, only_wanted=True).keep == (have,)


def test_a_family_that_the_network_lost_keeps_its_claims() -> None:
    old = claim("fd42::/64")
    assert plan_claims(NODE, [(6, old)], [4], {}).keep == (old,)


def test_nothing_is_up_without_an_address_or_while_down() -> None:
    assert mesh("192.0.2.1", down=False) == Mesh(UP, "192.0.2.1")
    assert mesh("192.0.2.1", down=True) == Mesh(DOWN, "192.0.2.1")
    assert mesh("", down=False) == Mesh(DOWN, "")


@given(st.integers(-10_000, 10_000))
def test_the_grace_period_ends_whatever_clock_it_was_begun_by(offset: int) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    left = grace_left(rfc3339(now + timedelta(seconds=offset)), 600, now)
    assert left <= 600
    assert (left <= 0) == (offset <= -600)


def test_times_are_read_back() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert parse_time(rfc3339(now)) == now
    assert parse_time("soon") is None
    assert grace_left("soon", 600, now) == 600


# Status


def status_of(node: QuiltNode, **changes: object) -> QuiltNodeStatus:
    facts: dict[str, object] = {
        "claims": [claim("10.42.1.0/24")], "health": Health(0.0), "address": Address("192.0.2.1"),
        "mac": "02:00:00:00:00:01", "refusal": None, "now": NOW,
    } | changes  # fmt: skip
    return status.desired(node, **facts)  # type: ignore[arg-type]


def ready(wanted: QuiltNodeStatus) -> str:
    item = next(item for item in wanted.conditions if item.type == "Ready")
    return f"{item.status}/{item.reason}"


IN_SYNC = (Condition("DataplaneInSync", "True", "x"), Condition("RuntimeReady", "True", "x"))
SYNCED = but(NODE, "status", conditions=IN_SYNC)
LOST = but(NODE, "status", conditions=(*IN_SYNC, Condition("ClaimLost", "True", "x")))


@pytest.mark.parametrize(
    ("node", "changes", "phase", "expected"),
    [
        (SYNCED, {}, "Up", "True/InMesh"),
        (NODE, {}, "Up", "Unknown/RuntimeNotReady"),
        (LOST, {}, "Up", "False/ClaimLost"),
        (SYNCED, {"claims": []}, "Pending", "False/NoSubnet"),
        (SYNCED, {"claims": [], "refusal": Refusal("Exhausted", "none")}, "Pending", "False/NoSubnet"),
        (SYNCED, {"address": Address("", "HostIPUnknown", "x")}, "Pending", "False/HostIPUnknown"),
        (SYNCED, {"address": Address("192.0.2.1", "HostIPUnconfirmed", "x")}, "Up",
         "False/HostIPUnconfirmed"),
        (SYNCED, {"health": Health(0.0, agent_unresponsive=True)}, "Up", "Unknown/AgentUnresponsive"),
        (SYNCED, {"health": Health(0.0, down=True)}, "Down", "False/NodeDown"),
    ],
)  # fmt: skip
def test_phase_and_readiness(node: QuiltNode, changes: dict[str, object], phase: str, expected: str) -> None:
    wanted = status_of(node, **changes)
    assert (wanted.phase, ready(wanted)) == (phase, expected)


def written(node: QuiltNode, wanted: QuiltNodeStatus) -> QuiltNode:
    """The node as the API server has it after the status was applied."""
    raw = {"metadata": {"name": node.name, "uid": node.uid}, "status": status.wire(wanted)}
    return convert(raw, QuiltNode)


def test_a_status_that_was_written_is_not_written_again() -> None:
    after = written(NODE, status_of(NODE))
    reported = but(after, "status", host_ip=NODE.status.host_ip)
    again = status.desired(
        reported, [claim("10.42.1.0/24")], Health(0.0), Address("192.0.2.1"),
        "02:00:00:00:00:01", None, LATER,
    )  # fmt: skip
    assert again == status.current(after)


def test_times_move_only_with_the_state_that_they_date() -> None:
    after = written(NODE, status_of(NODE))
    down = status_of(after, health=Health(0.0, down=True), now=LATER)
    assert down.last_transition_time == LATER
    by_type = {item.type: item.last_transition_time for item in down.conditions}
    assert by_type == {"SubnetAllocated": NOW, "Ready": LATER, "AgentUnresponsive": NOW}


def test_a_message_beyond_the_apis_limit_is_cut() -> None:
    item = Condition("Ready", "False", "x", "y" * 5000).settled(None, NOW)
    assert len(item.message) == 1024


# Reading objects


raws = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["metadata", "spec", "status", "mesh", "name", "conditions", "addresses", "subnets"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status", "mesh"]), raws))
def test_row_17_no_object_makes_reading_fail(raw: dict[str, object]) -> None:
    for kind in (QuiltNode, Node, QuiltSubnet):
        convert(raw, kind)


def test_only_addresses_on_the_node_confirm() -> None:
    addresses = [
        {"type": "InternalIP", "address": "192.0.2.1"},
        {"type": "ExternalIP", "address": "198.51.100.1"},
        {"type": "Hostname", "address": "203.0.113.1"},
    ]
    node = convert({"metadata": {"name": "n"}, "status": {"addresses": addresses}}, Node)
    assert set(node.ips) == {"192.0.2.1", "198.51.100.1"}


# The chart's part of the network


def test_what_the_chart_says_is_covered_by_what_extends_it() -> None:
    chart = {"clusterCIDRs": ["10.42.0.0/16"], "vxlan": {"vni": 100}}
    live = {"clusterCIDRs": ["10.42.0.0/16", "10.43.0.0/16"], "vxlan": {"vni": 100, "port": 4789}}
    assert covers(live, chart)
    assert not covers(live, {**chart, "vxlan": {"vni": 101}})
    assert not covers(live, {"clusterCIDRs": ["10.99.0.0/16"]})


def test_an_administrators_ranges_survive_a_change_by_the_chart() -> None:
    live = {"clusterCIDRs": ["10.42.0.0/16", "10.43.0.0/16"]}
    chart = {"clusterCIDRs": ["10.42.0.0/16", "10.44.0.0/16"], "vxlan": {"vni": 100}}
    assert merged(live, chart) == {
        "clusterCIDRs": ["10.42.0.0/16", "10.43.0.0/16", "10.44.0.0/16"], "vxlan": {"vni": 100}
    }  # fmt: skip
    assert merged({}, chart) == chart
