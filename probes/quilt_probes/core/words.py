"""What a node says of its paths: a condition, and of an outage the Event."""

from __future__ import annotations

from collections.abc import Sequence

from quilt_crds.names import PEERS_REACHABLE
from quilt_crds.wire import Condition
from quilt_events.news import News, Topic
from quilt_probes.core.book import Book, Fault, worse
from quilt_probes.core.link import FAILING, OK, UNKNOWN

_NAMED = 3
DISABLED = "Disabled"
STARTING = "Starting"


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


class Outage:
    """Follows a book from one outage to its end: one Event when it begins and one when it is over."""

    def __init__(self) -> None:
        self._about = ""
        self._pairs = ""

    def follow(self, book: Book) -> News | None:
        """Return what is news, None mostly."""
        faults = book.faults()
        if faults and not self._about:
            self._about, self._pairs = _culprit(book, faults), pairs(faults)
            what = "Packets of full size" if all(fault.narrow for fault in faults) else "Probes"
            topic = Topic("PathFailing", f"{what} through the overlay are lost", self._about)
            return News(topic, self._pairs)
        if self._about and not faults:
            head = "Probes through the overlay arrive again"
            topic = Topic("PathRecovered", head, self._about, warning=False)
            self._about = ""
            return News(topic, self._pairs)
        return None


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
