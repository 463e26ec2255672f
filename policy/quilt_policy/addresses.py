"""Which addresses are in a node's sets: what each set is made of, and what is known of it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from enum import Enum, unique
from typing import NamedTuple

from quilt_policy.places import Place, Places, chunks
from quilt_policy.program import AddressSet, Members, Peer, Scope
from quilt_policy.ranges import Ranges
from quilt_policy.selectors import PeerSelector


@unique
class Kind(Enum):
    """What a set has of its selector and ranges; the values begin the sets' names."""

    SELECTED = "p"
    OTHERS = "n"
    RANGES = "r"
    INNER = "h"
    SELECTED_IN_RANGES = "b"


class Recipe(NamedTuple):
    """What a set is made of: its kind with a selector, ranges or both.

    Selected pods (or those that are not, where they are fewer), a block's ranges, the inner addresses of the
    hosts in a block, or those of the selected pods that are in a block.
    """

    kind: Kind
    selector: PeerSelector | None = None
    ranges: Ranges | None = None

    @property
    def name(self) -> str:
        """The set's name; it is the selector's `set_name` for selected pods."""
        if self.kind is Kind.SELECTED_IN_RANGES and self.selector is not None and self.ranges is not None:
            return f"b_{self.selector.hash[:9]}{self.ranges.hash[:9]}"
        part = self.selector if self.selector is not None else self.ranges
        return f"{self.kind.value}_{part.hash if part is not None else ''}"


@dataclass(frozen=True, slots=True)
class Known:
    """What the operator says of a selector: sorted IPv4 addresses, of those selected or of the others."""

    v4: bytes
    complement: bool = False


class Addresses:
    """What is known of selectors and nodes, from which the contents of sets follow."""

    def __init__(self) -> None:
        self.places = Places()
        self._known: dict[PeerSelector, Known] = {}
        self._numbers: dict[PeerSelector, set[int]] = {}

    def put(self, selector: PeerSelector, known: Known | None) -> bool:
        """Note what is known of a selector (None: nothing); return whether rules change with it."""
        before = self._known.pop(selector, None)
        if known is not None:
            self._known[selector] = known
        if selector.number and (before is None) != (known is None):
            family = selector.family
            numbers_of = self._numbers.setdefault(family, set())
            (numbers_of.discard if known is None else numbers_of.add)(selector.number)
            if not numbers_of:
                del self._numbers[family]
            return True
        return _is_complement(before) != _is_complement(known)

    def is_known(self, selector: PeerSelector) -> bool:
        """Whether anything was reported of this selector, be it that there is nobody."""
        return selector in self._known

    def numbers(self, family: PeerSelector) -> list[int]:
        """Return the numbers that a named port has among the selected pods, sorted."""
        return sorted(self._numbers.get(family, ()))

    def peer(self, selector: PeerSelector) -> tuple[Peer, Recipe | None]:
        """Return how a rule names those selected, and the set that it needs for that."""
        if selector.any_pod:
            return Peer(Scope.PODS), None
        if _is_complement(self._known.get(selector)):
            return named(Scope.OTHERS, Recipe(Kind.OTHERS, selector))
        return named(Scope.MEMBERS, Recipe(Kind.SELECTED, selector))

    def content(self, recipe: Recipe) -> AddressSet:
        """Return a set with its members: sorted, each address once."""
        return AddressSet(recipe.name, self._members(recipe), recipe.kind is Kind.RANGES)

    def _members(self, recipe: Recipe) -> Members:
        match recipe:
            case Recipe(Kind.RANGES, None, Ranges() as ranges):
                return ranges.members
            case Recipe(Kind.INNER, None, Ranges() as ranges):
                return self.places.inner(ranges)
            case Recipe(Kind.SELECTED_IN_RANGES, PeerSelector() as selector, Ranges() as ranges):
                return _within(self._selected(selector), ranges)
            case Recipe(Kind.SELECTED | Kind.OTHERS, PeerSelector() as selector, None):
                return self._selected(selector)
            case _:
                raise ValueError(f"a set that is made of nothing: {recipe}")

    def _selected(self, selector: PeerSelector) -> Members:
        known = self._known.get(selector)
        v4 = known.v4 if known is not None else b""
        if selector.nodes is None:
            return Members(v4, self.places.twins(v4))
        inner = self.places.inner_of(v4)
        return Members(b"".join(sorted({*chunks(v4, 4), *chunks(inner.v4, 4)})), inner.v6)

    def moved(self, recipe: Recipe, place: Place) -> bool:
        """Whether the set's content may change with this place."""
        if recipe.kind is Kind.RANGES:
            return False
        if recipe.kind is Kind.INNER or (recipe.selector is not None and recipe.selector.nodes is not None):
            return True
        known = self._known.get(recipe.selector) if recipe.selector is not None else None
        return place.subnet6 is not None and known is not None and _has_any(known.v4, place)


def _is_complement(known: Known | None) -> bool:
    return known is not None and known.complement


def named(scope: Scope, recipe: Recipe) -> tuple[Peer, Recipe]:
    """Return a peer by the set of its addresses, and what that is made of."""
    return Peer(scope, recipe.name), recipe


def _within(members: Members, ranges: Ranges) -> Members:
    return Members(
        b"".join(one for one in chunks(members.v4, 4) if one in ranges),
        b"".join(one for one in chunks(members.v6, 16) if one in ranges),
    )


def _has_any(v4: bytes, place: Place) -> bool:
    """Whether one of these sorted addresses is in the place's subnet."""
    count = len(v4) // 4
    at = bisect_left(range(count), place.subnet[0].packed, key=lambda index: v4[4 * index : 4 * index + 4])
    return at < count and v4[4 * at : 4 * at + 4] <= place.subnet[-1].packed
