"""What the agent has Events report: drift that was repaired, and pods that do not get a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quilt_events.news import News, Topic
from quilt_nodeagent.metrics import Metrics

Tell = Callable[[News, int], None]

_DRIFT = Topic("DriftRepaired", "Others changed or removed what the mesh needs on this node; repaired")


@dataclass(frozen=True, slots=True)
class Repairs:
    """Counts what was repaired, and has Events report it."""

    metrics: Metrics
    tell: Tell

    def count(self, kind: str, number: int = 1) -> None:
        """Take note that so many entries of a kind were repaired."""
        self.metrics.drift_repairs.labels(kind).inc(number)
        self.tell(News(_DRIFT, kind), number)
