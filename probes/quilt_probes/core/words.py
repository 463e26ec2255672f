"""What a node says of its paths: a condition, and of an outage the Event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quilt_crds.names import PEERS_REACHABLE
from quilt_crds.wire import Condition
from quilt_probes.core.book import Book, Fault, worse
from quilt_probes.core.link import FAILING, OK, UNKNOWN

_NAMED = 3
DISABLED = "Disabled"
STARTING = "Starting"
# Of an outage one Event: nodes that see the same one give it the same name in so many seconds.
SLOT = 600


def off() -> Condition:
    """Return the condition of a node whose network wants no probes."""
    return Condition(PEERS_REACHABLE, "Unknown", DISABLED, "network.probes.enabled is false.")


def starting() -> Condition:
    """Return the condition of a node that does not probe yet."""
    return Condition(PEERS_REACHABLE, "Unknown", STARTING, "The overlay is not ready to be probed.")


def condition(book: Book) -> Condition:
    """Return the condition of a node that probes.

    It names few pairs and no figures: what is written to the API must not change with each probe.
    """
    faults = book.faults()
    if lost := [fault for fault in faults if not fault.narrow]:
        text = f"Probes through the overlay are lost: {pairs(lost)}."
        return Condition(PEERS_REACHABLE, "False", "ProbesLost", text)
    if faults:
        text = f"Packets of full size are lost, smaller ones are not: {pairs(faults)}."
        return Condition(PEERS_REACHABLE, "False", "PathMTUTooSmall", text)
    if not book.links:
        return Condition(PEERS_REACHABLE, "True", "NoPeers")
    states = {worse(link) for link in book.links.values()}
    if OK not in states:
        return Condition(PEERS_REACHABLE, "Unknown", "Unanswered", "No peer answers the probes.")
    return Condition(PEERS_REACHABLE, "True", "Reachable")


def pairs(faults: Sequence[Fault]) -> str:
    """Return the first few as `node-a → node-b`, and how many more there are, in no figures that flicker."""
    named = ", ".join(f"{fault.source} → {fault.target}" for fault in faults[:_NAMED])
    return f"{named} and others" if len(faults) > _NAMED else named


@dataclass(frozen=True, slots=True)
class News:
    """An Event to be written about the own QuiltNode; `name` is what all that see the same outage choose."""

    name: str
    warning: bool
    reason: str
    note: str


class Outage:
    """Follows a book from one outage to its end: one Event when it begins and one when it is over."""

    def __init__(self) -> None:
        self._about = ""
        self._pairs = ""

    def follow(self, book: Book, seconds: float) -> News | None:
        """Return what is news at `seconds` of the wall clock, None mostly."""
        faults = book.faults()
        if faults and not self._about:
            self._about, self._pairs = _culprit(book, faults), pairs(faults)
            what = "Packets of full size" if all(fault.narrow for fault in faults) else "Probes"
            note = f"{what} through the overlay are lost: {self._pairs}."
            return self._tell("failing", seconds, "PathFailing", note)
        if self._about and not faults:
            note = f"Probes through the overlay arrive again: {self._pairs}."
            news = self._tell("recovered", seconds, "PathRecovered", note)
            self._about = ""
            return news
        return None

    def _tell(self, what: str, seconds: float, reason: str, note: str) -> News:
        name = f"{self._about[:200]}.path-{what}.{int(seconds) // SLOT:x}"
        return News(name, what == "failing", reason, note)


def _culprit(book: Book, faults: Sequence[Fault]) -> str:
    """Return what an outage is filed under, as seen from here.

    The peer where one or few of many fail: all that miss it then mean the same. Where most fail or are
    silent, it is this node, or the mesh: those share one name.
    """
    missing = sum(1 for link in book.links.values() if worse(link) in (FAILING, UNKNOWN))
    if len(book.links) > 2 and missing > len(book.links) / 2:
        return "quilt-mesh"
    first = faults[0]
    return first.target if first.source == book.own else first.source
