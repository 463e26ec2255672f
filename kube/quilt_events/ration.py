"""How many Events a node may write: what comes again is counted, and the next one reports it.

An outage makes the same news again and again, and on many nodes at once. So in SLOT seconds a node reports
one kind of trouble once, and writes at most MOST Events of one reason. Their names are made of these seconds,
so that the same holds for an agent that starts again and again, and for all nodes together: those that see
the same outage choose the same name, and others in a mesh of more than PLACES nodes share so many. Of those
that choose one name the first writes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from zlib import crc32

from quilt_events.news import News, Topic

SLOT = 600
"""Seconds in which one kind of trouble is reported once."""
GATHER = 1.0
"""Seconds in which the rest of a burst is awaited."""
MOST = 5
"""Events of one reason in SLOT seconds."""
WAITING = 20
"""Topics of a reason, and kinds of a topic, that wait to be reported; more are left out."""
PLACES = 64
"""Names that all nodes together have for one Event, where each would have its own."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An Event to be written; `name` is its object's."""

    name: str
    topic: Topic
    note: str


@dataclass(slots=True)
class _Waiting:
    """News of one kind that are to be reported: since when, the last text, and how often."""

    since: float
    text: str = ""
    count: int = 0


class Ration:
    """The news of `node` until they may be reported. Times are in seconds of a monotonic clock."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._waiting: dict[Topic, dict[str, _Waiting]] = {}
        self._reported: dict[tuple[Topic, str], float] = {}
        self._written: dict[str, deque[float]] = {}
        self._numbers: dict[str, tuple[int, int]] = {}

    def note(self, news: News, now: float, count: int = 1) -> None:
        """Add something that happened `count` times."""
        topic, kind = news.topic, news.kind or news.text
        same = sum(one.reason == topic.reason for one in self._waiting)
        if topic not in self._waiting and same >= WAITING:
            return
        kinds = self._waiting.setdefault(topic, {})
        if kind in kinds or len(kinds) < WAITING:
            waiting = kinds.setdefault(kind, _Waiting(now))
            waiting.text, waiting.count = news.text, waiting.count + count

    def due(self) -> float:
        """Return when something may be reported, infinity where nothing waits."""
        return min(map(self._due, self._waiting), default=inf)

    def take(self, now: float, seconds: float, nodes: int) -> list[Draft]:
        """Return what is to be written now, at `seconds` of the wall clock in a mesh of so many nodes."""
        self._reported = {key: at for key, at in self._reported.items() if now < at + SLOT}
        taken = []
        for topic in list(self._waiting):
            # Asked for each: one that is written makes others of its reason wait.
            if self._due(topic) <= now:
                note = f"{topic.head}: {_listed(self._take(topic, now))}."
                taken.append(Draft(self._name(topic, int(seconds) // SLOT, nodes), topic, note))
        return taken

    def _due(self, topic: Topic) -> float:
        """When a topic may be reported: some kind may be, and few Events of its reason were written."""
        written = self._written.get(topic.reason, deque())
        room = written[0] + SLOT if len(written) == MOST else -inf
        kinds = self._waiting[topic].items()
        return max(room, min(max(one.since + GATHER, self._free(topic, kind)) for kind, one in kinds))

    def _free(self, topic: Topic, kind: str) -> float:
        """When a kind may be reported (again)."""
        return self._reported.get((topic, kind), -inf) + SLOT

    def _take(self, topic: Topic, now: float) -> list[_Waiting]:
        """Take what is reported now out of what waits; kinds that were reported lately wait on."""
        kinds = self._waiting.pop(topic)
        taken = {kind: one for kind, one in kinds.items() if self._free(topic, kind) <= now}
        if left := {kind: one for kind, one in kinds.items() if kind not in taken}:
            self._waiting[topic] = left
        self._reported |= dict.fromkeys(((topic, kind) for kind in taken), now)
        self._written.setdefault(topic.reason, deque(maxlen=MOST)).append(now)
        return list(taken.values())

    def _name(self, topic: Topic, slot: int, nodes: int) -> str:
        """Return the name of an Event's object: that of an outage, or of the node and the next number."""
        reason = topic.reason.lower()
        if topic.about:
            return f"{topic.about[:200]}.{reason}.{slot:x}"
        place = self._node if nodes <= PLACES else f"quilt-mesh-{crc32(self._node.encode()) % PLACES}"
        last, number = self._numbers.get(topic.reason, (slot, 0))
        number = number if last == slot else 0
        self._numbers[topic.reason] = slot, number + 1
        return f"{place[:200]}.{reason}.{slot:x}.{number}"


def _listed(kinds: Iterable[_Waiting]) -> str:
    """Return what happened, with `(x3)` what happened three times, as `kubectl get events` writes it."""
    return ", ".join(one.text if one.count == 1 else f"{one.text} (x{one.count})" for one in kinds)
