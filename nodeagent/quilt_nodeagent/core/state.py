"""The dataplane as data: what the mesh writes into a kernel, keyed the way the kernel indexes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import Struct

from quilt_delta import Tracked

Kind = Literal["neighbour", "fdb", "route", "unreachable"]
Mark = tuple[Kind, str]
"""The place of one entry: its table, and its key there."""
Entry = tuple[Kind, str, str]
"""An entry beside routes: its table, its key and its value there."""


class Hop(Struct, frozen=True, gc=False):
    """Where a route leads: on-link `gateway` (an address without length) behind device `device` (a name)."""

    gateway: str
    device: str


@dataclass(slots=True)
class Entries:
    """A dataplane: neighbours VTEP address -> MAC, FDB MAC -> host IP, routes prefix -> Hop.

    And `unreachable`, the prefixes that are refused where no route leads.
    """

    neighbours: dict[str, str] = field(default_factory=dict)
    fdb: dict[str, str] = field(default_factory=dict)
    routes: dict[str, Hop] = field(default_factory=dict)
    unreachable: frozenset[str] = frozenset()

    def of(self, kind: Kind) -> dict[str, str]:
        """Return one of the tables beside routes."""
        return self.neighbours if kind == "neighbour" else self.fdb


class Tables:
    """Desired and actual entries, table by table."""

    def __init__(self) -> None:
        self.neighbours: Tracked[str, str] = Tracked()
        self.fdb: Tracked[str, str] = Tracked()
        self.routes: Tracked[str, Hop] = Tracked()
        self.unreachable: Tracked[str, bool] = Tracked()
        self.of: dict[Kind, Tracked[str, Any]] = {
            "neighbour": self.neighbours,
            "fdb": self.fdb,
            "route": self.routes,
            "unreachable": self.unreachable,
        }

    def want(self, marks: Iterable[Mark], desired: Callable[[Mark], str | Hop | bool | None]) -> None:
        """Take what is desired at these places from `desired`."""
        for mark in marks:
            self.of[mark[0]].want(mark[1], desired(mark))

    def want_all(self, desired: Entries) -> None:
        """Desire exactly these entries."""
        self.neighbours.want_all(desired.neighbours)
        self.fdb.want_all(desired.fdb)
        self.routes.want_all(desired.routes)
        self.unreachable.want_all(dict.fromkeys(desired.unreachable, True))

    @property
    def pending(self) -> set[Mark]:
        """Places at which the kernel is not known to be as desired."""
        return {(kind, key) for kind, table in self.of.items() for key in table.differing}

    def differ(self, mark: Mark) -> bool:
        """Whether the kernel is not known to be as desired at a place."""
        return mark[1] in self.of[mark[0]].differing


def count(marks: Iterable[Mark]) -> Counter[Kind]:
    """Return how many places there are in each table."""
    return Counter(kind for kind, _ in marks)
