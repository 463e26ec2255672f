"""Programs as they come over the wire: what is valid arrives unchanged, anything else is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from quilt_policy.program import Action, Profile
from quilt_proto import policy_pb2 as pb
from quilt_runtime.core.errors import RequestError
from quilt_runtime.services import policy_wire
from tests.support.policy_programs import (
    address_set,
    chain_message,
    egress,
    ingress,
    message,
    pod,
    pod_message,
    profile_message,
    program,
    ranges,
    rule,
    set_message,
    tcp,
)

PROGRAM = program(
    address_set("p_a", "10.42.2.2", "10.42.2.3", "fd42::3"),
    ranges("b_1", ("10.0.0.0", "10.0.0.255"), ("fd00::", "fd00::ff")),
    ingress("i_1", rule("p_a", tcp(80, 443)), admin=(rule("b_1", action=Action.DENY),)),
    egress("e_1", rule()),
    Profile(pod("web"), "i_1", "e_1", judge_self=True),
    Profile(pod("db")),
)


def test_a_program_arrives_as_it_was_sent() -> None:
    assert policy_wire.program(message(PROGRAM)) == PROGRAM


def test_members_come_in_any_order_and_ranges_that_meet_are_one() -> None:
    sent = pb.PolicyProgram(
        sets=[
            pb.AddressSet(name="p_a", v4=bytes([10, 0, 0, 2, 10, 0, 0, 1, 10, 0, 0, 2])),
            pb.AddressSet(
                name="b", ranges=True, v4=bytes([*(10, 0, 0, 4, 10, 0, 0, 9), *(10, 0, 0, 0, 10, 0, 0, 3)])
            ),
        ]
    )
    found = policy_wire.program(sent).sets
    assert found["p_a"] == address_set("p_a", "10.0.0.1", "10.0.0.2")
    assert found["b"] == ranges("b", ("10.0.0.0", "10.0.0.9"))


def test_a_change_is_applied_to_what_was_sent_before() -> None:
    change = pb.PolicyChange(
        sets=[set_message(address_set("p_new", "10.42.3.3"))],
        members=[
            pb.SetMembers(
                name="p_a", add_v4=bytes([10, 42, 2, 9]), remove_v4=bytes([10, 42, 2, 2, 10, 42, 2, 77])
            )
        ],
        chains=[chain_message(ingress("i_2", rule("p_new"), rule("p_a")))],
        pods=[profile_message(Profile(pod("web"), "i_2"))],
        gone_pods=[pod_message(pod("db"))],
        gone_chains=["i_1", "e_1", "never_was"],
        gone_sets=["b_1"],
    )
    assert policy_wire.changed(PROGRAM, change) == program(
        address_set("p_a", "10.42.2.3", "10.42.2.9", "fd42::3"),
        address_set("p_new", "10.42.3.3"),
        ingress("i_2", rule("p_new"), rule("p_a")),
        Profile(pod("web"), "i_2"),
    )


RULE = pb.PolicyRule(action=pb.ACCEPT)


def chain(*rules: pb.PolicyRule, name: str = "i_1", **others: Any) -> pb.PolicyProgram:
    return pb.PolicyProgram(
        chains=[pb.PolicyChain(name=name, policies=pb.PolicyRules(rules=rules), **others)]
    )


def ports(first: int, last: int, protocol: int = 6) -> pb.PolicyProgram:
    one = pb.ProtocolPorts(protocol=protocol, ranges=[pb.PortRange(first=first, last=last)])
    return chain(pb.PolicyRule(action=pb.ACCEPT, ports=[one]))


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (chain(name='x"; flush ruleset; "'), "Chain name"),
        (chain(name=""), "Chain name"),
        (chain(name="a" * 21), "Chain name"),
        (chain(name="Web"), "Chain name"),
        (pb.PolicyProgram(sets=[pb.AddressSet(name="p a")]), "Set name"),
        (chain(pb.PolicyRule(action=pb.ACCEPT, scope=pb.MEMBERS, set="p_a }")), "Set name"),
        (chain(pb.PolicyRule(action=pb.ACCEPT, scope=pb.MEMBERS, set="p_a")), "set p_a, which is not there"),
        (chain(pb.PolicyRule(action=pb.ACCEPT, origin='a" drop')), "Origin"),
        (chain(pb.PolicyRule(action=pb.ACCEPT, origin="a\\")), "Origin"),
        (chain(pb.PolicyRule(action=pb.ACCEPT, origin="a\n")), "Origin"),
        (chain(pb.PolicyRule(action=pb.ACCEPT, origin="a" * 129)), "Origin"),
        (chain(pb.PolicyRule()), "only accept"),
        (chain(pb.PolicyRule(action=pb.DENY)), "only accept"),
        (chain(pb.PolicyRule(action=pb.ACCEPT, scope=9)), "no action or peer"),
        (ports(80, 79), "Ports 80-79"),
        (ports(80, 65536), "Ports 80-65536"),
        (ports(80, 80, protocol=1), "Protocol 1 "),
        (pb.PolicyProgram(sets=[pb.AddressSet(name="p_a", v4=b"abc")]), "3 bytes are no whole number"),
        (pb.PolicyProgram(sets=[pb.AddressSet(name="p_a", v6=b"abc")]), "addresses of 16"),
        (pb.PolicyProgram(sets=[pb.AddressSet(name="b", v4=bytes(4), ranges=True)]), "addresses of 8"),
        (pb.PolicyProgram(sets=[pb.AddressSet(name="b", v4=b"bbbbaaaa", ranges=True)]), "ends before"),
        (pb.PolicyProgram(pods=[pb.PodProfile(pod=pb.PodName(name="web", uid="u"))]), "A pod has"),
        (
            pb.PolicyProgram(pods=[profile_message(Profile(pod("web"), "i_9"))]),
            "Ingress chain i_9, which is not",
        ),
        (
            pb.PolicyProgram(
                chains=[chain_message(ingress("i_1"))],
                pods=[profile_message(Profile(pod("web"), egress="i_1"))],
            ),
            "Egress chain i_1, which is not",
        ),
    ],
)
def test_what_is_not_valid_is_refused_by_name(sent: pb.PolicyProgram, text: str) -> None:
    with pytest.raises(RequestError, match=text):
        policy_wire.program(sent)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (pb.PolicyChange(members=[pb.SetMembers(name="p_9")]), "Members of 'p_9'"),
        (pb.PolicyChange(members=[pb.SetMembers(name="b_1")]), "or it is of ranges"),
        (pb.PolicyChange(gone_sets=["p_a"]), "set p_a, which is not there"),
        (pb.PolicyChange(gone_chains=["e_1"]), "Egress chain e_1"),
    ],
)
def test_a_change_that_leaves_something_out_is_refused(change: pb.PolicyChange, text: str) -> None:
    with pytest.raises(RequestError, match=text):
        policy_wire.changed(PROGRAM, change)
