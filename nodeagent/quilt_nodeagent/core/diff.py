"""What differs between the state that should be and the state that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from quilt_nodeagent.core.state import Entries

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Diff:
    """`put` is missing or different, with the wanted values; `drop` is not wanted, with the values it has."""

    put: Entries = field(default_factory=Entries)
    drop: Entries = field(default_factory=Entries)

    def __bool__(self) -> bool:
        return any((e.neighbours or e.fdb or e.routes) for e in (self.put, self.drop))


def diff(desired: Entries, actual: Entries) -> Diff:
    """Compare two states that cover the same keys; equal states give an empty Diff.

    A dump that shows what is wanted is kept in its very words, and then there is nothing to compare.
    """
    return Diff(
        Entries(
            _missing(desired.neighbours, actual.neighbours),
            _missing(desired.fdb, actual.fdb),
            _missing(desired.routes, actual.routes),
        ),
        Entries(
            _unwanted(desired.neighbours, actual.neighbours),
            _unwanted(desired.fdb, actual.fdb),
            _unwanted(desired.routes, actual.routes),
        ),
    )


def _missing(desired: dict[str, V], actual: dict[str, V]) -> dict[str, V]:
    if desired is actual:
        return {}
    # Into an empty kernel all of it goes as it is.
    return {key: value for key, value in desired.items() if actual.get(key) != value} if actual else desired


def _unwanted(desired: dict[str, V], actual: dict[str, V]) -> dict[str, V]:
    return {} if desired is actual else {key: value for key, value in actual.items() if key not in desired}
