"""How often rules of policies decided, as a node's kernel counts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from quilt_cli.core.policies import Answer, Side

Counters = Mapping[str, int]
"""Packets that a rule decided about on one node, by where it was written (Decision.origin)."""


class _Counter(msgspec.Struct):
    packets: int = 0


class _Expression(msgspec.Struct):
    # The reasons' named counters are strings; a rule's own is an object.
    counter: _Counter | str | None = None


class _Rule(msgspec.Struct):
    comment: str = ""
    expr: tuple[_Expression | str, ...] = ()


class _Entry(msgspec.Struct):
    rule: _Rule | None = None


class _Listing(msgspec.Struct):
    nftables: tuple[_Entry, ...] = ()


def counters(listing: bytes) -> Counters:
    """Read what `nft -j list table inet quilt-policy` prints; raises ValueError for something else.

    A rule is in a chain for each family and combination of policies: what all of them counted is one number.
    """
    found: Counter[str] = Counter()
    for entry in msgspec.json.decode(listing, type=_Listing).nftables:
        if entry.rule is None or not entry.rule.comment:
            continue
        for part in entry.rule.expr:
            if isinstance(part, _Expression) and isinstance(part.counter, _Counter):
                found[entry.rule.comment] += part.counter.packets
    return found


def deciding_nodes(answer: Answer) -> set[str]:
    """Return the nodes whose kernel counts what decides."""
    return {side.node for side in (answer.egress, answer.ingress) if side.origin and side.node}


def with_counters(answer: Answer, by_node: Mapping[str, Counters]) -> Answer:
    """Return the answer with what was counted; one whose node answered nothing stays as it is."""

    def counted(side: Side) -> Side:
        known = by_node.get(side.node)
        if not side.origin or known is None:
            return side
        return msgspec.structs.replace(side, packets=known.get(side.origin, 0))

    return msgspec.structs.replace(answer, egress=counted(answer.egress), ingress=counted(answer.ingress))
