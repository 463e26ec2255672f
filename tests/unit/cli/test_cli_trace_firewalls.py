"""What firewalls do with a packet, by rules as nft and iptables list them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from quilt_cli.core.trace import iptables, nft
from quilt_cli.core.trace.kernel import Kernel
from quilt_cli.core.trace.packet import Fate, Packet

OUT = Packet("quilt0", "vxlan100", ip_address("10.42.1.5"), ip_address("10.42.2.5"), "tcp", 80)
ACCEPT, DROP = {"accept": None}, {"drop": None}


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str) -> dict[str, Any]:
    return {"meta": {"key": key}}


def payload(protocol: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": field}}


def chain(
    name: str, policy: str | None = None, *rules: list[dict[str, Any]], family: str = "inet"
) -> list[Any]:
    place = {"family": family, "table": "wall"}
    base = {"type": "filter", "hook": "forward", "prio": 0, "policy": policy} if policy else {}
    made: list[Any] = [{"chain": {**place, "name": name, **base}}]
    return made + [{"rule": {**place, "chain": name, "expr": list(rule)}} for rule in rules]


def judged(*entries: Any, packet: Packet = OUT) -> tuple[Fate, str]:
    kernel = Kernel({"nft": [entry for part in entries for entry in part]})
    outcomes = nft.judge(kernel, packet, {"forward"})
    worst = next((one for fate in (Fate.DROPPED, Fate.UNCLEAR) for one in outcomes if one.fate is fate), None)
    return (worst.fate, worst.rule) if worst else (Fate.PASSES, "")


@pytest.mark.parametrize(
    "condition",
    [
        match(meta("iifname"), "quilt0"),
        match(meta("oifname"), {"set": ["eth0", "vxlan100"]}),
        match(meta("iifname"), "qui*"),
        match(payload("ip", "saddr"), {"prefix": {"addr": "10.42.0.0", "len": 16}}),
        match(payload("ip", "daddr"), {"range": ["10.42.2.1", "10.42.2.9"]}),
        match(payload("tcp", "dport"), {"set": [22, 80]}),
        match(payload("tcp", "dport"), {"range": [1, 1024]}),
        match(meta("l4proto"), "tcp"),
        match(meta("l4proto"), 6),
        match({"ct": {"key": "state"}}, ["new", "untracked"], "in"),
        match(meta("iifname"), "eth0", "!="),
    ],
)
def test_a_rule_that_matches_drops(condition: dict[str, Any]) -> None:
    fate, rule = judged(chain("f", "accept", [condition, {"counter": {"packets": 0}}, DROP]))
    assert fate is Fate.DROPPED
    assert rule.startswith("inet wall f: ")


@pytest.mark.parametrize(
    "condition",
    [
        match(meta("iifname"), "eth0"),
        match(payload("ip6", "saddr"), "fd42::1"),
        match(payload("udp", "dport"), 80),
        match(payload("udp", "dport"), 80, "!="),
        match(payload("tcp", "dport"), 443),
        match({"ct": {"key": "state"}}, ["established", "related"], "in"),
        match(payload("ip", "daddr"), "10.42.2.5", "!="),
    ],
)
def test_a_rule_about_other_packets_does_not(condition: dict[str, Any]) -> None:
    assert judged(chain("f", "accept", [condition, DROP])) == (Fate.PASSES, "")


def test_what_is_not_known_of_a_packet_is_unclear_and_certain_again_behind_a_certain_verdict() -> None:
    doubtful = {"limit": {"rate": 10}}
    assert judged(chain("f", "accept", [doubtful, DROP]))[0] is Fate.UNCLEAR
    assert judged(chain("f", "accept", [doubtful, ACCEPT], [DROP]))[0] is Fate.UNCLEAR
    assert judged(chain("f", "accept", [doubtful, DROP], [DROP]))[0] is Fate.DROPPED
    assert judged(chain("f", "accept", [doubtful, ACCEPT], [ACCEPT]))[0] is Fate.PASSES
    assert judged(chain("f", "accept", [{"xt": {"type": "match", "name": "x"}}, DROP]))[0] is Fate.UNCLEAR


def test_jumps_return_and_gotos_do_not() -> None:
    inner = chain("inner", None, [match(meta("iifname"), "eth0"), DROP])
    assert judged(chain("f", "accept", [{"jump": {"target": "inner"}}], [DROP]), inner)[0] is Fate.DROPPED
    assert judged(chain("f", "accept", [{"goto": {"target": "inner"}}], [DROP]), inner)[0] is Fate.PASSES
    assert judged(chain("f", "drop", [{"goto": {"target": "inner"}}]), inner)[0] is Fate.DROPPED
    dropping = chain("inner", None, [DROP])
    assert judged(chain("f", "accept", [{"jump": {"target": "inner"}}]), dropping)[0] is Fate.DROPPED
    returning = chain("inner", None, [{"return": None}], [DROP])
    assert judged(chain("f", "accept", [{"jump": {"target": "inner"}}]), returning)[0] is Fate.PASSES


def test_a_policy_drops_what_no_rule_accepts() -> None:
    assert judged(chain("f", "drop")) == (Fate.DROPPED, "inet wall f: its policy is drop")
    assert judged(chain("f", "drop", [match(meta("iifname"), "quilt0"), ACCEPT]))[0] is Fate.PASSES


def test_verdict_maps_and_sets_of_a_table() -> None:
    states = {"set": [["established", ACCEPT], ["new", DROP]]}
    assert judged(chain("f", "accept", [{"vmap": {"key": {"ct": {"key": "state"}}, "data": states}}]))[0] is (
        Fate.DROPPED
    )
    unknown = chain("f", "accept", [{"vmap": {"key": meta("iifname"), "data": "@ways"}}])
    assert judged(unknown)[0] is Fate.PASSES
    held = [{"set": {"family": "inet", "table": "wall", "name": "bad", "elem": ["10.42.2.5", "10.42.2.6"]}}]
    named = chain("f", "accept", [match(payload("ip", "daddr"), "@bad"), DROP])
    assert judged(held, named)[0] is Fate.DROPPED
    # Without its elements a set tells nothing.
    assert judged(named)[0] is Fate.UNCLEAR


def test_chains_of_the_other_family_do_not_count() -> None:
    assert judged(chain("f", "drop", family="ip6")) == (Fate.PASSES, "")
    assert judged(chain("f", "drop", family="ip"))[0] is Fate.DROPPED


LISTING = """
# Generated by iptables-nft-save
*filter
:INPUT ACCEPT [0:0]
:FORWARD {policy} [0:0]
:DOCKER - [0:0]
{rules}
COMMIT
"""


@pytest.mark.parametrize(
    ("policy", "rules", "fate"),
    [
        ("ACCEPT", "[1:60] -A FORWARD -i quilt0 -j DROP", Fate.DROPPED),
        ("ACCEPT", "-A FORWARD -o vxlan+ -j REJECT --reject-with icmp-port-unreachable", Fate.DROPPED),
        ("ACCEPT", "-A FORWARD ! -i eth0 -d 10.42.2.0/24 -j DROP", Fate.DROPPED),
        ("ACCEPT", "-A FORWARD -p tcp -m tcp --dport 80 -j DROP", Fate.DROPPED),
        ("ACCEPT", "-A FORWARD -p udp -m udp --dport 80 -j DROP", Fate.PASSES),
        ("ACCEPT", "-A FORWARD -m conntrack --ctstate INVALID -j DROP", Fate.PASSES),
        ("ACCEPT", "-A FORWARD -m mark --mark 0x1 -j DROP", Fate.UNCLEAR),
        ("DROP", "", Fate.DROPPED),
        ("DROP", '-A FORWARD -i quilt0 -m comment --comment "quilt mesh" -j ACCEPT', Fate.PASSES),
        ("DROP", "-A FORWARD -j DOCKER\n-A DOCKER -i docker0 -j RETURN", Fate.DROPPED),
        ("DROP", "-A FORWARD -j DOCKER\n-A DOCKER -o vxlan100 -j ACCEPT", Fate.PASSES),
        ("ACCEPT", "-A FORWARD -j LOG --log-prefix x\n-A FORWARD -s 10.42.1.5/32 -j DROP", Fate.DROPPED),
    ],
)
def test_iptables(policy: str, rules: str, fate: Fate) -> None:
    outcomes = iptables.judge(LISTING.format(policy=policy, rules=rules), OUT, ["FORWARD"])
    assert [one.fate for one in outcomes] == [fate]
