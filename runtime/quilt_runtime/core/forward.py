"""Which chains of iptables-nft refuse the forwarded packets of pods, and the rules that let them pass.

What another's chain refuses cannot be overridden from a table of ours: an accept there ends only that
table's part. So two rules go into iptables-nft's own FORWARD chain, which shows them, where it refuses
everything that no rule of it accepts: by the policy DROP (Docker sets one), or by a last rule that does (as
distributions write it). They stand behind all other rules, so that these count, and before that last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any

from quilt_runtime.core.firewall import BRIDGE

COMMENT = "quilt-mesh"
FAMILIES = ("ip", "ip6")
TABLE, CHAIN = "filter", "FORWARD"
DIRECTIONS = ("iifname", "oifname")
# Statements that a packet always passes; any other one may be a condition.
_PASSED = frozenset({"counter", "log", "drop", "reject", "jump", "goto"})
_DEEPEST = 16  # jumps of jumps, as the kernel has it

Entries = Iterable[Mapping[str, Any]]
"""What `nft -j list …` prints under "nftables"."""
Rule = Mapping[str, Any]


def correction(family: str, table: Entries) -> str:
    """Return the transaction after which pods' packets pass, for the listed table; empty where they do."""
    entries = list(table)
    drops = any(
        chain.get("name") == CHAIN and chain.get("policy") == "drop" for chain in _of_kind("chain", entries)
    )
    chains: dict[str, list[Rule]] = {}
    for rule in _of_kind("rule", entries):
        chains.setdefault(rule["chain"], []).append(rule)
    rules = chains.get(CHAIN, [])
    last = next((at for at, rule in enumerate(rules) if _refuses_all(rule, chains)), None)
    if not drops and last is None:
        return ""
    standing = list(takewhile(_is_ours, reversed(rules[:last])))
    if {_direction(rule) for rule in standing} == set(DIRECTIONS) and standing == [
        rule for rule in reversed(rules) if _is_ours(rule)
    ]:
        return ""
    place = (
        f"insert rule {family} {TABLE} {CHAIN} handle {int(rules[last]['handle'])}"
        if last is not None
        else ""
    )
    return removal(family, _as_entries(rules)) + _accepting(place or f"add rule {family} {TABLE} {CHAIN}")


def removal(family: str, rules: Entries) -> str:
    """Return the transaction that takes our rules away, empty where there are none."""
    return "".join(
        f"delete rule {family} {TABLE} {CHAIN} handle {int(rule['handle'])}\n"
        for rule in _of_kind("rule", rules)
        if _is_ours(rule)
    )


def _accepting(command: str) -> str:
    rule = f'{command} {{}} "{BRIDGE}" counter accept comment "{COMMENT}"\n'
    return "".join(rule.format(direction) for direction in DIRECTIONS)


def _as_entries(rules: Iterable[Rule]) -> Entries:
    return ({"rule": rule} for rule in rules)


def _of_kind(kind: str, entries: Entries) -> Iterator[Mapping[str, Any]]:
    return (entry[kind] for entry in entries if kind in entry)


def _is_ours(rule: Rule) -> bool:
    return rule.get("comment") == COMMENT


def _direction(rule: Rule) -> str:
    """Return the direction that a rule of ours accepts, empty where somebody changed it to something else."""
    expressions = rule.get("expr", [])
    for direction in DIRECTIONS:
        match = {"op": "==", "left": {"meta": {"key": direction}}, "right": BRIDGE}
        if {"match": match} in expressions and {"accept": None} in expressions:
            return direction
    return ""


def _refuses_all(rule: Rule, chains: Mapping[str, list[Rule]], depth: int = 0) -> bool:
    """Whether no packet that comes to the rule gets past it, but for those that rules before it took."""
    statements = [item for item in rule.get("expr", []) if not _is_remark(item)]
    if depth > _DEEPEST or not all(_PASSED & item.keys() or _is_refusal(item) for item in statements):
        return False
    return any(
        _is_refusal(item)
        or any(_refuses_all(inner, chains, depth + 1) for inner in chains.get(_target(item), ()))
        for item in statements
    )


def _is_refusal(statement: Mapping[str, Any]) -> bool:
    """Whether it is a drop or a reject; iptables' REJECT is an extension of its own."""
    extension = statement.get("xt") or {}
    return bool({"drop", "reject"} & statement.keys()) or (
        extension.get("type") == "target" and extension.get("name") == "REJECT"
    )


def _is_remark(statement: Mapping[str, Any]) -> bool:
    extension = statement.get("xt") or {}
    return (extension.get("type"), extension.get("name")) == ("match", "comment")


def _target(statement: Mapping[str, Any]) -> str:
    jump = statement.get("jump") or statement.get("goto") or {}
    return str(jump.get("target", ""))
