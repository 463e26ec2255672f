"""The rules of network policies: the text of each part of a program, and the order of its changes."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from quilt_policy.program import Action, Chain, Direction, Ports, Profile, Program, Protocol, Rule, Scope
from quilt_runtime.core import policysteps
from quilt_runtime.core.policy import Ground, Structure, structure
from tests.support.policy_programs import (
    GROUND,
    GROUND6,
    address_set,
    egress,
    ingress,
    pod,
    program,
    ranges,
    rule,
    tcp,
)

HEAD = "ct state invalid,untracked counter name policy_invalid_ingress drop"
DROP = "counter name policy_ingress drop"
SELF = "ct original ip saddr . ct reply ip saddr @self4 return"
PODS = "{ 10.42.0.0/16 } ct original ip saddr & 0.0.0.255 != { 0.0.0.0, 0.0.0.1 }"
ADMIN = (
    rule("bad", action=Action.DENY),
    rule("ops", action=Action.ACCEPT),
    rule("", action=Action.PASS, scope=Scope.PODS),
)


def made(ground: Ground, wanted: Program) -> Structure:
    return structure(ground, wanted, is_entered=bool(wanted.pods))


def chain_of(chain: Chain, name: str) -> list[str] | None:
    rules = made(GROUND, program(chain)).chains.get(name)
    return None if rules is None else [re.sub(' comment "[^"]*"', "", text) for text in rules]


@pytest.mark.parametrize(
    ("one", "texts"),
    [
        (rule(), ["counter return"]),
        (rule("p_a"), ["ct original ip saddr @p_a-4 counter return"]),
        (rule("", scope=Scope.PODS), [f"ct original ip saddr {PODS} counter return"]),
        (
            rule("p_a", scope=Scope.OTHERS),
            [f"ct original ip saddr {PODS} ct original ip saddr != @p_a-4 counter return"],
        ),
        (
            rule("p_a", Ports(Protocol.TCP, ((80, 80), (8000, 8100))), Ports(Protocol.SCTP)),
            [
                "ct original ip saddr @p_a-4 meta l4proto tcp "
                "ct reply proto-src { 80, 8000-8100 } counter return",
                "ct original ip saddr @p_a-4 meta l4proto sctp counter return",
            ],
        ),
    ],
)
def test_a_rule_is_its_peer_and_then_its_ports(one: Rule, texts: list[str]) -> None:
    assert chain_of(ingress("i_1", one), "i_1-4") == [HEAD, SELF, *texts, DROP]


def test_egress_is_about_the_server() -> None:
    found = chain_of(egress("e_1", rule("p_a", tcp(53))), "e_1-4")
    assert found is not None
    assert found[2] == "ct reply ip saddr @p_a-4 meta l4proto tcp ct reply proto-src { 53 } counter return"


def test_tiers_are_asked_in_order() -> None:
    """A pod reaches itself behind the Admin tier, as NetworkPolicies have it."""
    chain = ingress("i_1", rule("p_a"), admin=ADMIN)
    assert chain_of(chain, "i_1-4") == [
        HEAD,
        f"ct original ip saddr @bad-4 counter {DROP}",
        "ct original ip saddr @ops-4 counter return",
        f"ct original ip saddr {PODS} counter goto i_1-4-rest",
        "goto i_1-4-rest",
    ]
    assert chain_of(chain, "i_1-4-rest") == [
        SELF,
        "ct original ip saddr @p_a-4 counter return",
        DROP,
    ]
    without = Chain("i_2", Direction.INGRESS, ADMIN, None, (rule("bad", action=Action.DENY),))
    assert chain_of(without, "i_2-4-rest") == [f"ct original ip saddr @bad-4 counter {DROP}"]
    alone = Chain(
        "i_3", Direction.INGRESS, (), None, (rule("", action=Action.PASS), rule(action=Action.DENY))
    )
    assert chain_of(alone, "i_3-4") == [HEAD, "counter return", f"counter {DROP}"]


@pytest.mark.parametrize(
    ("chain", "judged_by"),
    [
        (egress("e_1", rule("p_a")), None),
        (ingress("i_1", rule("p_a"), admin=ADMIN), None),
        (egress("e_1", rule("p_a"), admin=ADMIN), "e_1-4-host"),
        (Chain("e_1", Direction.EGRESS, ADMIN, None), "e_1-4"),
        (Chain("e_1", Direction.EGRESS, (), None, (rule(action=Action.DENY),)), "e_1-4"),
        (Chain("e_1", Direction.EGRESS, (), (), (rule(action=Action.DENY),)), None),
    ],
)
def test_only_cluster_policies_judge_what_is_sent_to_the_node(chain: Chain, judged_by: str | None) -> None:
    held = Profile(pod("web"), **{chain.direction.value.lower(): chain.name})
    found = made(GROUND, program(chain, held))
    assert ("input" in found.bases) == (judged_by is not None)
    if judged_by == "e_1-4-host":
        rules = chain_of(chain, judged_by)
        assert rules is not None
        assert rules[-1].endswith("counter return"), "PASS leaves it to NetworkPolicies, which let it pass"


def test_no_packet_enters_where_no_pod_is_held_to_anything() -> None:
    assert made(GROUND, program(ingress("i_1"))).bases == {}
    forward = made(GROUND, program(ingress("i_1"), Profile(pod("web"), "i_1"))).bases["forward"]
    asked = "ct original ip saddr . ct reply ip saddr . meta l4proto . ct reply proto-src"
    assert forward == (
        "type filter hook forward priority filter - 5; policy accept;",
        f"meta l4proto tcp {asked} @judged4 accept",
        f"meta l4proto udp {asked} @judged4 accept",
        f"meta l4proto sctp {asked} @judged4 accept",
        "meta l4proto != { tcp, udp, sctp } ct id @fresh accept",
        "ct state invalid,untracked ip saddr vmap @from4",
        "ct state invalid,untracked ip daddr vmap @to4",
        "meta l4proto { icmp, ipv6-icmp } ct state related accept",
        'iifname "quilt0" oifname "quilt0" ip daddr 224.0.0.0/4 accept',
        "ct original ip saddr vmap @from4",
        "ct reply ip saddr vmap @to4",
        f"meta l4proto tcp add @judged4 {{ {asked} }}",
        f"meta l4proto udp add @judged4 {{ {asked} }}",
        f"meta l4proto sctp add @judged4 {{ {asked} }}",
        "meta l4proto != { tcp, udp, sctp } add @fresh { ct id }",
    )


def test_twins_are_held_to_chains_of_their_own() -> None:
    found = made(
        GROUND6, program(address_set("p_a"), ingress("i_1", rule("p_a"), rule("", scope=Scope.PODS)))
    )
    rules = found.chains["i_1-6"]
    assert rules is not None
    assert rules[2].startswith("ct original ip6 saddr @p_a-6 counter return")
    pods = "{ fd42:42::/48 } ct original ip6 saddr & ::ffff:ffff:ffff:ffff != { ::, ::1 }"
    assert rules[3].startswith(f"ct original ip6 saddr {pods} counter return")
    assert {"from6", "to6", "host6", "self6", "p_a-6"} <= found.sets.keys()


def test_masks_follow_from_the_length_of_nodes_subnets() -> None:
    assert "& 0.0.3.255 !=" in Ground(22, GROUND.cidrs).families[0].is_pod("ip saddr")


def test_what_comes_is_made_before_and_what_leaves_is_removed_behind() -> None:
    old = made(GROUND, program(address_set("p_a"), ingress("i_1", rule("p_a")), Profile(pod("web"), "i_1")))
    new = made(GROUND, program(ranges("b_1"), ingress("i_2", rule("b_1")), Profile(pod("web"), "i_2")))
    before, after = policysteps.before(old, new).splitlines(), policysteps.after(old, new).splitlines()
    assert before == [
        "add table inet quilt-policy",
        "add set inet quilt-policy b_1-4 { type ipv4_addr; flags interval; }",
        "add chain inet quilt-policy i_2-4",
        f"add rule inet quilt-policy i_2-4 {HEAD}",
        f"add rule inet quilt-policy i_2-4 {SELF}",
        'add rule inet quilt-policy i_2-4 ct original ip saddr @b_1-4 counter return comment "default/b_1"',
        f"add rule inet quilt-policy i_2-4 {DROP}",
    ]
    assert after == [
        "flush chain inet quilt-policy i_1-4",
        "delete chain inet quilt-policy i_1-4",
        "delete set inet quilt-policy p_a-4",
    ]
    assert policysteps.before(old, old) == policysteps.after(old, old) == ""


def test_what_is_unknown_is_written_again_in_place() -> None:
    wanted = made(GROUND, program(ingress("i_1"), Profile(pod("web"), "i_1")))
    held = Structure({"from4": "map from4", "q-6": "map q-6"}, {"i_1-4": None, "x": None}, {"forward": None})
    before, after = policysteps.before(held, wanted), policysteps.after(held, wanted)
    for name in ("i_1-4", "forward"):
        assert f"flush chain inet quilt-policy {name}\n" in before
    assert "flush chain inet quilt-policy cut-off" not in before
    assert before.index("flush chain inet quilt-policy i_1-4") < before.index("add rule")
    assert "delete chain inet quilt-policy x\ndelete map inet quilt-policy q-6\n" in after


def test_what_denies_is_preceded_by_a_rule_that_logs_the_same_packets() -> None:
    chain = Chain("c", Direction.INGRESS, ADMIN, policies=())
    plain, logged = made(GROUND, program(chain)), made(replace(GROUND, logs_denied=True), program(chain))
    log = 'limit rate 5/second burst 10 packets log prefix "{}" group 1042 snaplen 64'
    denying = 'ct original ip saddr @bad-4 counter counter name policy_ingress drop comment "default/bad"'
    assert denying in (plain.chains["c-4"] or ())
    rules = list(logged.chains["c-4"] or ())
    assert rules[:2] == [f"ct state invalid,untracked {log.format('policy_invalid_ingress ')}", HEAD]
    before = rules[rules.index(denying) - 1]
    assert before == f"ct original ip saddr @bad-4 {log.format('policy_ingress default/bad')}"
    assert (logged.chains["c-4-rest"] or ())[-2] == log.format("policy_ingress ")
    assert (logged.chains["cut-off"] or ())[0] == log.format("policy_unannounced ")
    for name, rules_of in logged.chains.items():
        assert tuple(rule for rule in rules_of or () if " log " not in f" {rule}") == plain.chains[name]
