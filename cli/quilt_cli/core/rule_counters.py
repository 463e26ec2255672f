"""How often rules of policies decided, as a node's kernel counts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from quilt_cli.core.nft_listing import entries, of_kind, packets
from quilt_cli.core.policies import Answer, Side

Counters = Mapping[str, int]
"""Packets that a rule decided about on one node, by where it was written (Decision.origin)."""


def counters(listing: bytes) -> Counters:
    """Read what `nft -j list table inet quilt-policy` prints; raises ValueError for something else.

    A rule is in a chain for each family and combination of policies: what all of them counted is one number.
    """
    found: Counter[str] = Counter()
    for rule in of_kind(entries(listing), "rule"):
        if comment := rule.get("comment"):
            found[comment] += packets(rule)
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
