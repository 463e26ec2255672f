"""What changes of the sets and maps of policies, and what of it forbids something."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_netlink.nftsets import Element, Flush, SetChange
from quilt_policy.change import Change
from quilt_policy.compile import Compiler
from quilt_policy.program import Action, Chain, PodName, Profile, Program, Scope
from quilt_runtime.core import packed
from quilt_runtime.core.policyjudged import FORGET, REMEMBERED
from quilt_runtime.core.policyplan import Connected, Plan, State, plan, pod_entries, state
from tests.support import policy_examples as examples
from tests.support.policy_programs import (
    GROUND,
    GROUND6,
    UID,
    address_set,
    egress,
    ingress,
    pod,
    program,
    ranges,
    rule,
    tcp,
)

WEB = Connected(pod("web"), IPv4Address("10.42.1.5"), IPv6Address("fd42:42:0:1::5"))
KEY = WEB.address.packed
ADDRESSES = st.binary(min_size=4, max_size=4)


def planned(before: Program, after: Program, *connected: Connected) -> Plan:
    return plan(state(GROUND, before, connected), state(GROUND, after, connected))


def judges_again(before: Program, after: Program, *connected: Connected) -> bool:
    changes = planned(before, after, *connected).changes
    forgotten = [one in changes for one in FORGET]
    assert len(set(forgotten)) == 1, "all that was judged, or nothing"
    return all(forgotten)


def with_members(chain: Chain, *addresses: str) -> Program:
    return program(address_set("p_a", *addresses), chain, Profile(pod("web"), chain.name))


@given(st.sets(ADDRESSES), st.sets(ADDRESSES), st.sets(ADDRESSES))
def test_packed_addresses_change_as_sets_do(held: set[bytes], more: set[bytes], fewer: set[bytes]) -> None:
    one = packed.pack(held)
    other = packed.changed(one, 4, more, fewer)
    assert packed.cut(other, 4) == sorted(held - fewer | more)
    assert packed.differences(one, other, 4) == (
        sorted((held - fewer | more) - held),
        sorted(held - (held - fewer | more)),
    )


@given(st.lists(st.tuples(ADDRESSES, ADDRESSES).map(lambda pair: (min(pair), max(pair)))))
def test_ranges_are_read_as_they_were_written(pairs: list[tuple[bytes, bytes]]) -> None:
    joined = packed.joined(pairs)
    assert packed.ranges(packed.intervals(joined, 4)) == joined
    ends = packed.cut(joined, 8)
    assert all(int.from_bytes(one[4:]) + 1 < int.from_bytes(two[:4]) for one, two in pairwise(ends))
    for first, last in pairs:
        assert any(end[:4] <= first and last <= end[4:] for end in ends)


def test_a_range_up_to_the_last_address_has_no_end() -> None:
    everything = packed.joined([(bytes(4), b"\xff" * 4)])
    assert packed.intervals(everything, 4) == [Element(bytes(4))]


def test_a_pod_is_one_entry_for_each_direction_and_family() -> None:
    chains = (ingress("i_1"), egress("e_1", admin=(rule(action=Action.DENY),)))
    wanted = program(*chains, Profile(pod("web"), "i_1", "e_1"))
    six = WEB.address6.packed if WEB.address6 else b""
    assert pod_entries(WEB, wanted, GROUND6) == {
        "from4": {KEY: "e_1-4"},
        "host4": {KEY: "e_1-4-host"},
        "to4": {KEY: "i_1-4"},
        "self4": {KEY * 2: ""},
        "from6": {six: "e_1-6"},
        "host6": {six: "e_1-6-host"},
        "to6": {six: "i_1-6"},
        "self6": {six * 2: ""},
    }
    assert pod_entries(WEB, program(Profile(pod("web"))), GROUND6) == {}


@pytest.mark.parametrize(
    ("uid", "entries"),
    [
        (UID, {"to4": {KEY: "i_1-4"}, "self4": {KEY * 2: ""}}),
        # A later pod of that name: what holds for the earlier one is not its.
        (UID.replace("0b5e", "1c6f"), {"from4": {KEY: "cut-off"}, "to4": {KEY: "cut-off"}}),
        # A static pod's, as the kubelet knows it; and of a pod that an older release connected.
        ("3f5c5ad9b4b4a8c3e05b1ad5ae0f9c11", {"to4": {KEY: "i_1-4"}, "self4": {KEY * 2: ""}}),
        ("", {"to4": {KEY: "i_1-4"}, "self4": {KEY * 2: ""}}),
    ],
)
def test_a_pod_is_known_by_its_uid(uid: str, entries: dict[str, dict[bytes, str]]) -> None:
    """trap 15: a uid of the API server's is matched, another one leaves it to the name."""
    wanted = program(ingress("i_1"), Profile(pod("web"), "i_1"))
    assert pod_entries(Connected(pod("web", uid), WEB.address), wanted, GROUND) == entries
    assert pod_entries(Connected(PodName("other", "web", ""), WEB.address), wanted, GROUND) == {}


@pytest.mark.parametrize(
    ("chain", "by_adding", "by_removing"),
    [
        (ingress("i_1", rule("p_a")), False, True),
        (ingress("i_1", rule("p_a", scope=Scope.OTHERS)), True, False),
        (ingress("i_1", admin=(rule("p_a", action=Action.DENY),)), True, False),
        (ingress("i_1", admin=(rule("p_a", action=Action.DENY, scope=Scope.OTHERS),)), False, True),
        (ingress("i_1", admin=(rule("p_a", action=Action.PASS),)), True, True),
    ],
)
def test_members_that_forbid_something_have_all_judged_again(
    chain: Chain, by_adding: bool, by_removing: bool
) -> None:
    fewer, more = with_members(chain, "10.42.2.2"), with_members(chain, "10.42.2.2", "10.42.2.3")
    assert judges_again(fewer, more, WEB) == by_adding
    assert judges_again(more, fewer, WEB) == by_removing
    (change,) = (one for one in planned(fewer, more, WEB).changes if isinstance(one, SetChange))
    assert change == SetChange("p_a-4", [IPv4Address("10.42.2.3").packed], True)


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        (ingress("i_1", rule("p_a")), ingress("i_2", rule("p_a"), rule("p_a", tcp(80))), False),
        (ingress("i_1", rule("p_a"), rule()), ingress("i_2", rule("p_a")), True),
        (ingress("i_1", admin=(rule("p_a"),)), ingress("i_2", rule("p_a")), True),
        (ingress("i_1"), Chain("i_2", ingress("x").direction, ()), False),
        (Chain("i_1", ingress("x").direction, ()), ingress("i_2"), True),
    ],
)
def test_another_chain_has_all_judged_again_unless_it_only_accepts_more(
    old: Chain, new: Chain, again: bool
) -> None:
    before, after = with_members(old), with_members(new)
    assert judges_again(before, after, WEB) == again
    changes = [one for one in planned(before, after, WEB).changes if isinstance(one, SetChange)]
    assert changes == [
        SetChange("to4", [KEY], False),
        SetChange("to4", [Element(KEY, "i_2-4")], True),
    ]


def test_isolation_that_begins_has_all_judged_again_one_that_ends_does_not_kube_network_policies_246() -> (
    None
):
    isolated, free = with_members(ingress("i_1")), program(Profile(pod("web")))
    assert judges_again(free, isolated, WEB)
    assert not judges_again(isolated, free, WEB)
    assert not judges_again(free, isolated), "it is not here yet"


def test_rules_that_are_written_otherwise_judge_again_and_logging_alone_does_not() -> None:
    held = program(ingress("i_1", rule("", scope=Scope.PODS)), Profile(pod("web"), "i_1"))
    before = state(GROUND, held, [WEB])
    wider = replace(GROUND, cidrs=(*GROUND.cidrs, IPv4Network("10.99.0.0/16")))
    assert set(FORGET) <= set(plan(before, state(wider, held, [WEB])).changes)
    assert not plan(before, state(replace(GROUND, logs_denied=True), held, [WEB])).changes


def test_ranges_are_replaced_as_a_whole() -> None:
    chain, held = ingress("i_1", rule("b_1")), Profile(pod("web"), "i_1")
    before = program(ranges("b_1", ("10.0.0.0", "10.0.0.255")), chain, held)
    after = program(ranges("b_1", ("10.0.0.0", "10.0.0.9")), chain, held)
    begin, end = Element(bytes([10, 0, 0, 0])), Element(bytes([10, 0, 0, 10]), ends=True)
    assert planned(before, after).changes == [
        *(Flush("b_1-4"), SetChange("b_1-4", [begin, end], True), *FORGET),
    ]


def test_new_sets_are_filled_before_anything_leads_to_them() -> None:
    many = [str(IPv4Address(0x0A000000 + number)) for number in range(60_000)]
    wanted = program(address_set("p_a", *many), ingress("i_1", rule("p_a")), Profile(pod("web"), "i_1"))
    steps = plan(State(), state(GROUND, wanted, [WEB]))
    assert [sum(len(one.addresses) for one in part if isinstance(one, SetChange)) for part in steps.fill] == [
        50_000,
        10_000,
    ]
    assert "add set inet quilt-policy p_a-4" in steps.before
    assert [one.name for one in steps.changes] == ["self4", "to4", *REMEMBERED]


def test_nothing_is_done_where_nothing_differs() -> None:
    held = state(GROUND, with_members(ingress("i_1", rule("p_a")), "10.42.2.2"), [WEB])
    assert plan(held, held).is_empty


def test_one_address_more_is_one_element_kube_router_945_1751_kube_ovn_4349_4605() -> None:
    """Of 1,000 policies, 100 pods that they hold for and 10,000 addresses nothing else is written."""
    compiler, allowed = Compiler(), [{"from": [{"podSelector": {}}]}]
    everybody = [IPv4Address("10.42.2.2").packed[:2] + number.to_bytes(2) for number in range(10_000)]
    for number in range(1_000):
        compiler.put_policy(examples.policy(f"np{number}", ingress=allowed))
    for number in range(100):
        compiler.put_pod(examples.pod(f"p{number}"))
    (selector,) = compiler.selectors
    compiler.put_members(selector, b"".join(everybody[1:]))
    before = compiler.program()
    compiler.put_members(selector, b"".join(everybody))
    change = compiler.change()
    assert change == Change(members=change.members)
    assert [one.add.v4 for one in change.members] == everybody[:1]
    steps = planned(before, compiler.program())
    assert steps == Plan("", (), [SetChange(f"{selector.set_name}-4", everybody[:1], True)], "")
