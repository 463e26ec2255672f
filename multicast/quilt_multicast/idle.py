"""Flows that carried nothing for some looks: their sources may never send again."""

from __future__ import annotations

from collections.abc import Iterable

from quilt_multicast.core.state import Flow
from quilt_multicast.mroute import FlowCounters

# Looks without a packet after which a flow is forgotten.
IDLE_LOOKS = 6


class IdleFlows:
    """Remembers what each flow had carried at the last look, and since how many looks that is unchanged."""

    def __init__(self) -> None:
        self._held: dict[Flow, tuple[int, int]] = {}

    def look(self, counters: Iterable[FlowCounters]) -> set[Flow]:
        """Return the flows that are to be forgotten."""
        held, self._held = self._held, {}
        idle: set[Flow] = set()
        for counted in counters:
            flow = (counted.source, counted.group)
            total = counted.packets + counted.wrong_interface
            last, looks = held.get(flow, (-1, 0))
            looks = looks + 1 if last == total else 0
            if looks >= IDLE_LOOKS:
                idle.add(flow)
            else:
                self._held[flow] = (total, looks)
        return idle
