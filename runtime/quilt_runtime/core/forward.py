"""Which chains of iptables-nft refuse the forwarded packets of pods, and the rules that let them pass.

What another's chain refuses cannot be overridden from the mesh's own table: an accept there ends only that
table's part. So two rules go into iptables-nft's own FORWARD chain, which shows them, where it refuses
everything that no rule of it accepts: by the policy DROP (Docker sets one), or by a last rule that does (as
distributions write it). They stand behind all other rules, so that these count, and before that last one.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

from quilt_crds.names import BRIDGE_DEVICE
from quilt_runtime.core.nftrules import Entries, Rule, of_kind, refuses_all

COMMENT = "quilt-mesh"
FAMILIES = ("ip", "ip6")
TABLE, CHAIN = "filter", "FORWARD"
DIRECTIONS = ("iifname", "oifname")


def correction(family: str, table: Entries) -> str:
    """Return the transaction after which pods' packets pass, for the listed table; empty where they do."""
    entries = list(table)
    drops = any(
        chain.get("name") == CHAIN and chain.get("policy") == "drop" for chain in of_kind("chain", entries)
    )
    chains: dict[str, list[Rule]] = {}
    for rule in of_kind("rule", entries):
        chains.setdefault(rule["chain"], []).append(rule)
    rules = chains.get(CHAIN, [])
    last = next((at for at, rule in enumerate(rules) if refuses_all(rule, chains)), None)
    if not drops and last is None:
        return ""
    standing = list(takewhile(_has_comment, reversed(rules[:last])))
    if {_direction(rule) for rule in standing} == set(DIRECTIONS) and standing == [
        rule for rule in reversed(rules) if _has_comment(rule)
    ]:
        return ""
    place = (
        f"insert rule {family} {TABLE} {CHAIN} handle {int(rules[last]['handle'])}"
        if last is not None
        else ""
    )
    return removal(family, _as_entries(rules)) + _accepting(place or f"add rule {family} {TABLE} {CHAIN}")


def removal(family: str, rules: Entries) -> str:
    """Return the transaction that removes our rules, empty where there are none."""
    return "".join(
        f"delete rule {family} {TABLE} {CHAIN} handle {int(rule['handle'])}\n"
        for rule in of_kind("rule", rules)
        if _has_comment(rule)
    )


def _accepting(command: str) -> str:
    rule = f'{command} {{}} "{BRIDGE_DEVICE}" counter accept comment "{COMMENT}"\n'
    return "".join(rule.format(direction) for direction in DIRECTIONS)


def _as_entries(rules: Iterable[Rule]) -> Entries:
    return ({"rule": rule} for rule in rules)


def _has_comment(rule: Rule) -> bool:
    return rule.get("comment") == COMMENT


def _direction(rule: Rule) -> str:
    """Return the direction that a rule of the mesh accepts, empty where somebody changed it."""
    expressions = rule.get("expr", [])
    for direction in DIRECTIONS:
        match = {"op": "==", "left": {"meta": {"key": direction}}, "right": BRIDGE_DEVICE}
        if {"match": match} in expressions and {"accept": None} in expressions:
            return direction
    return ""
