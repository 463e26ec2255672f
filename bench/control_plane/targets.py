"""What a mesh of a size has to reach."""

from __future__ import annotations

from typing import NamedTuple


class Targets(NamedTuple):
    """Upper limits of one size; None for no limit."""

    joined_s: float | None = None
    """Until the last claim is published, when all join at once."""
    operator_percent: float | None = None
    """The operator's share of a core with heartbeats."""
    operator_mb: float | None = None
    """Its memory then."""
    ready_s: float | None = None
    """From its start again until it is ready."""


_BY_NODES = {
    5_000: Targets(joined_s=40, operator_percent=5, operator_mb=200, ready_s=15),
    10_000: Targets(joined_s=90, operator_percent=8, operator_mb=350, ready_s=30),
}


def targets(nodes: int) -> Targets:
    """Return the targets of a mesh of so many nodes; other sizes have none."""
    return _BY_NODES.get(nodes, Targets())
