"""A mesh of books without network: what each node sends is lost, delayed or delivered as a test decides."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random

from quilt_probes.core.book import TICK, Book
from quilt_probes.core.wire import SIZE

Fate = Callable[[str, str, bool], float | None]
"""Of a datagram (source, target, whether of full size): seconds on its way, None: lost."""
# Datagrams that wait for an agent.
ROOM = 20
# The wall clocks of nodes need not agree.
_SKEW = 1_000_000_000_000


def vtep(node: str) -> str:
    """VTEP address of `node-7`: 10.42.7.0."""
    return f"10.42.{node.rpartition('-')[2]}.0"


@dataclass
class Claim:
    """A claim as the agent's table has it."""

    cidr: str
    node: str
    phase: str = "Up"
    host_ip: str = "192.0.2.1"

    @property
    def vtep(self) -> str:
        """The subnet's network address."""
        return self.cidr.partition("/")[0]


@dataclass
class World:
    """Nodes that tick once a second each; `fate` decides what becomes of each datagram."""

    nodes: Sequence[str]
    fate: Fate = lambda source, target, full: 0.0002
    seed: int = 0
    now: float = 1000.0
    off: set[str] = field(default_factory=set)
    """Nodes whose agents do not run."""
    hung: set[str] = field(default_factory=set)
    """Nodes whose agents are stopped, as by SIGSTOP: what comes waits for them."""
    proven: bool = True
    """Whether silent peers whose agents run are proven to."""

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.books: dict[str, Book] = {}
        self._way: list[tuple[float, int, str, str, bytes]] = []
        self._boxes: dict[str, list[tuple[str, bytes, int]]] = {node: [] for node in self.nodes}
        self._order = count()
        for node in self.nodes:
            self.start(node)

    def wall(self, node: str) -> int:
        """A node's wall clock in ns."""
        return int(self.now * 1e9) + _SKEW * (1 + list(self.nodes).index(node))

    def start(self, node: str) -> None:
        """Start a node's agent (again): it remembers nothing."""
        self.off.discard(node)
        book = Book(node, Random(self.random.random()), lambda: self.wall(node))
        book.set_peers({other: [vtep(other)] for other in self.nodes if other != node}, 0, self.now)
        self.books[node] = book

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        step = TICK / len(self.nodes)
        turn = 0
        while self.now < end:
            self.now += step
            self._deliver()
            node = self.nodes[turn % len(self.nodes)]
            turn += 1
            if node not in self.off | self.hung:
                self._tick(node)

    def _tick(self, node: str) -> None:
        book, box = self.books[node], self._boxes[node]
        book.wake(self.now)
        for source, data, arrived in box:
            assert not book.receive(vtep(source), data, arrived, self.now)
        box.clear()
        if self.proven:
            for other in book.silent(self.now):
                if other not in self.off | self.hung and book.links[other].proof <= book.links[other].last_in:
                    book.proved(other, self.now)
        book.judge(self.now)
        targets = {vtep(other): other for other in self.nodes}
        for address, data, full in book.due(self.now):
            assert len(data) == SIZE
            seconds = self.fate(node, targets[address], full)
            if seconds is not None:
                due = self.now + seconds
                heapq.heappush(self._way, (due, next(self._order), node, targets[address], data))

    def _deliver(self) -> None:
        while self._way and self._way[0][0] <= self.now:
            due, _, source, target, data = heapq.heappop(self._way)
            # The kernel's buffer, and its time of arrival.
            early = int((self.now - due) * 1e9)
            if target not in self.off and len(self._boxes[target]) < ROOM:
                self._boxes[target].append((source, data, self.wall(target) - early))

    def faults(self) -> set[tuple[str, str, str]]:
        """(who says so, source, target) of all that anybody calls failing."""
        return {
            (node, fault.source, fault.target)
            for node, book in self.books.items()
            if node not in self.off | self.hung
            for fault in book.faults()
        }
