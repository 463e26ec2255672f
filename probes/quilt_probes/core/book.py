"""All peers that a node watches: whom to send what, and what is wrong with which pair and direction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from random import Random

from msgspec import Struct

from quilt_probes.core.link import FAILING, INTERVAL, SILENT, Link
from quilt_probes.core.share import SHARE, watched
from quilt_probes.core.wire import WireError, decode, encode

TICK = 1.0
"""Seconds between the times at which a node reads, judges and sends."""
# A silent peer is asked about from here on, so that the proof is there in good time.
_ASK = 3 * INTERVAL


class Fault(Struct, frozen=True, order=True):
    """A direction that fails: from `source` to `target`, or `narrow`: only packets of full size."""

    source: str
    target: str
    narrow: bool = False


class Book:
    """The links of the node `own`; `wall()` is its wall clock in ns, `chance` a source of random numbers."""

    def __init__(self, own: str, chance: Random, wall: Callable[[], int]) -> None:
        self.own = own
        self.links: dict[str, Link] = {}
        self._chance = chance
        self._wall = wall
        self._vteps: dict[str, str] = {}
        self._nodes: dict[str, str] = {}
        self._watched: set[str] = set()
        self._epoch = -1
        self._drawn: dict[str, int] = {}
        self._ticked = float("inf")

    def set_peers(self, vteps: Mapping[str, Sequence[str]], epoch: int, now: float) -> None:
        """Follow who is in the mesh (VTEP addresses by node, without the own) and whose turn it is."""
        self._nodes = {vtep: node for node, held in vteps.items() for vtep in held}
        if epoch != self._epoch:
            self._epoch, self._drawn = epoch, {}
        self._watched = watched(self.own, vteps.keys(), epoch, self._drawn)
        self.links = {
            node: link for node, link in self.links.items() if node in vteps and self._keeps(node, link, now)
        }
        for node in sorted(self._watched - self.links.keys()):
            self._begin(node, now)
        # Addresses of those alone that are probed: of thousands of peers they would be much of what is held.
        self._vteps = {node: vteps[node][0] for node in self.links}

    def _keeps(self, node: str, link: Link, now: float) -> bool:
        """Whether a link is kept: it is watched, or fails, or its peer watches this node."""
        return node in self._watched or link.broken or link.silent_for(now) < SILENT

    def _begin(self, node: str, now: float) -> Link:
        # Spread over the interval, so that thousands of agents do not send at once.
        due = now + self._chance.uniform(0, INTERVAL)
        link = self.links[node] = Link(self._chance.randrange(1, 1 << 32), now, due)
        return link

    def receive(self, source: str, data: bytes, arrived: int, now: float) -> str:
        """Take in a datagram; return why it was refused, empty where it was not.

        `source` is its address, `arrived` in ns of the wall clock. Only peers that are Up count; one that
        this node does not watch is answered for as long as it sends.
        """
        node = self._nodes.get(source)
        if node is None:
            return "stranger"
        try:
            probe = decode(data)
        except WireError:
            return "malformed"
        link = self.links.get(node)
        if link is None:
            if len(self.links) >= 3 * SHARE:
                return "busy"
            link, self._vteps[node] = self._begin(node, now), source
        link.accept(probe, arrived, now)
        return ""

    def wake(self, now: float) -> None:
        """Begin a tick, before what came is received: while this process did not run, nobody was silent.

        After a long time all links begin again, as after a restart: the socket may have had no room for all
        that came, and peers must not take this for a path that fails.
        """
        pause = now - self._ticked - TICK
        self._ticked = now
        if pause > SILENT:
            for node in list(self.links):
                self._begin(node, now)
        elif pause > TICK:
            for link in self.links.values():
                link.last_in = min(link.last_in + pause, now)

    def judge(self, now: float) -> None:
        """Draw conclusions, after what came was received."""
        for link in self.links.values():
            link.judge(now)

    def due(self, now: float) -> Iterator[tuple[str, bytes, bool]]:
        """Yield (address, datagram, whether it is of full size) for what is due, to be sent at once."""
        for node, link in self.links.items():
            if link.due > now:
                continue
            # At even distances, but never to make up for a pause.
            link.due = max(link.due + INTERVAL, now + INTERVAL / 2)
            vtep = self._vteps[node]
            link.next_number()
            yield vtep, encode(link.probe(self._wall())), False
            if link.full_due:
                yield vtep, encode(link.probe(self._wall(), full=True)), True

    def silent(self, now: float) -> list[str]:
        """Nodes of which proof is wanted that they probe: those silent for some time, the longest first."""
        found = [node for node, link in self.links.items() if link.silent_for(now) >= _ASK]
        return sorted(found, key=lambda node: self.links[node].last_in)

    def proved(self, node: str, now: float) -> None:
        """Take note that a node's agent probes, by another way than its probes."""
        if node in self.links:
            self.links[node].proof = now

    def faults(self) -> list[Fault]:
        """Return what fails, sorted."""
        found = []
        for node, link in self.links.items():
            if link.inward == FAILING:
                found.append(Fault(node, self.own))
            if link.outward == FAILING:
                found.append(Fault(self.own, node))
            elif link.narrow:
                found.append(Fault(self.own, node, narrow=True))
        return sorted(found)

    def nodes_in(self, state: str) -> Collection[str]:
        """Return the nodes of which the worse direction is in that state: failing, unknown or ok."""
        return [node for node, link in self.links.items() if worse(link) == state]


def worse(link: Link) -> str:
    """Return the state of a link: failing where anything fails, ok only where both directions are."""
    if link.broken:
        return FAILING
    return link.inward if link.inward == link.outward else "unknown"
