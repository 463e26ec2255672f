"""Which chains of iptables-nft drop the forwarded packets of pods, and the rules that let them pass.

A policy DROP in another's chain (Docker sets one) cannot be overridden from a table of ours: an accept there
ends only that table's part. So two rules go to the top of iptables-nft's own FORWARD chain, which shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from quilt_runtime.core.firewall import BRIDGE

COMMENT = "quilt-mesh"
FAMILIES = ("ip", "ip6")
TABLE, CHAIN = "filter", "FORWARD"
DIRECTIONS = ("iifname", "oifname")

Entries = Iterable[Mapping[str, Any]]
"""What `nft -j list …` prints under "nftables"."""


def dropping(chains: Entries) -> list[str]:
    """Return the families whose iptables-nft chain FORWARD drops by default."""
    return [
        str(chain["family"])
        for chain in _of_kind("chain", chains)
        if (chain.get("table"), chain.get("name"), chain.get("policy")) == (TABLE, CHAIN, "drop")
        and chain.get("family") in FAMILIES
    ]


def missing(rules: Entries) -> list[str]:
    """Return the directions that no rule of ours accepts in the listed chain."""
    present = {direction for rule in _ours(rules) for direction in DIRECTIONS if _matches(rule, direction)}
    return [direction for direction in DIRECTIONS if direction not in present]


def insertion(family: str, directions: Iterable[str]) -> str:
    """Return the transaction that lets pods' packets pass."""
    rule = f'insert rule {family} {TABLE} {CHAIN} {{}} "{BRIDGE}" counter accept comment "{COMMENT}"'
    return "".join(rule.format(direction) + "\n" for direction in directions)


def removal(family: str, rules: Entries) -> str:
    """Return the transaction that takes our rules away, empty where there are none."""
    return "".join(
        f"delete rule {family} {TABLE} {CHAIN} handle {int(rule['handle'])}\n" for rule in _ours(rules)
    )


def _of_kind(kind: str, entries: Entries) -> Iterator[Mapping[str, Any]]:
    return (entry[kind] for entry in entries if kind in entry)


def _ours(rules: Entries) -> Iterator[Mapping[str, Any]]:
    return (rule for rule in _of_kind("rule", rules) if rule.get("comment") == COMMENT)


def _matches(rule: Mapping[str, Any], direction: str) -> bool:
    expressions = rule.get("expr", [])
    match = {"op": "==", "left": {"meta": {"key": direction}}, "right": BRIDGE}
    return {"match": match} in expressions and {"accept": None} in expressions
