"""What the agent has Events report: drift that was repaired, and pods that do not get a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quilt_events.news import News, Topic
from quilt_nodeagent.metrics import Metrics
from quilt_proto.node_pb2 import GetStatusResponse

Tell = Callable[[News, int], None]

_DRIFT = Topic("DriftRepaired", "Others changed or removed what the mesh needs on this node; repaired")
_PODS = Topic("PodsNotConnected", "Pods get no network, CNI ADD is refused again and again")


def drift(kind: str) -> News:
    """Return the news that entries of a kind were changed by others and repaired."""
    return News(_DRIFT, kind, kind)


@dataclass(frozen=True, slots=True)
class Repairs:
    """Counts what was repaired, and has Events report it."""

    metrics: Metrics
    tell: Tell

    def count(self, kind: str, number: int = 1) -> None:
        """Take note that so many entries of a kind were repaired."""
        self.metrics.drift_repairs.labels(kind).inc(number)
        self.tell(drift(kind), number)


class RuntimeNews:
    """Has Events report what is new in the runtime's reports, whose figures grow from its start on.

    Of the first report nothing is new: an agent that starts does not know since when.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._before: dict[tuple[Topic, str], int] | None = None

    def follow(self, status: GetStatusResponse) -> None:
        """Compare a report with the one before."""
        counts = {drift(kind): number for kind, number in status.repairs.items()}
        counts |= {
            News(_PODS, f"{one.pod}: {one.reason.rstrip('.')}", one.kind): one.count
            for one in status.add_refusals
        }
        before, self._before = self._before, {(news.topic, news.kind): n for news, n in counts.items()}
        if before is None:
            return
        for news, number in counts.items():
            held = before.get((news.topic, news.kind), 0)
            # Fewer than before: the runtime was started again, and all of them are new.
            if more := number - held if number >= held else number:
                self._tell(news, more)
