"""The dataplane as data: what the mesh writes into a kernel, keyed the way the kernel indexes it.

Desired, observed and tracked state share these types, so that a diff is a comparison of dictionaries and a
later writer (direct routing, another family) changes values, never the machinery.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import Struct


class Hop(Struct, frozen=True, gc=False):
    """Where a route leads: on-link `gateway` (an address without length) behind device `device` (a name)."""

    gateway: str
    device: str


@dataclass(slots=True)
class Keys:
    """Keys of entries: VTEP addresses, MACs and prefixes, whichever way they must be looked at again."""

    neighbours: set[str] = field(default_factory=set)
    fdb: set[str] = field(default_factory=set)
    routes: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.neighbours or self.fdb or self.routes)

    def without(self, other: Keys) -> Keys:
        """Return the keys that `other` has not."""
        return Keys(self.neighbours - other.neighbours, self.fdb - other.fdb, self.routes - other.routes)

    def update(self, other: Keys) -> None:
        """Add the keys of `other`."""
        self.neighbours |= other.neighbours
        self.fdb |= other.fdb
        self.routes |= other.routes


@dataclass(slots=True)
class Entries:
    """A dataplane: neighbours VTEP address -> MAC, FDB MAC -> host IP, routes prefix -> Hop."""

    neighbours: dict[str, str] = field(default_factory=dict)
    fdb: dict[str, str] = field(default_factory=dict)
    routes: dict[str, Hop] = field(default_factory=dict)

    def restrict(self, keys: Keys) -> Entries:
        """Return the part of this state that `keys` name; costs the keys, not the state."""
        return Entries(
            {key: self.neighbours[key] for key in keys.neighbours if key in self.neighbours},
            {key: self.fdb[key] for key in keys.fdb if key in self.fdb},
            {key: self.routes[key] for key in keys.routes if key in self.routes},
        )
