"""The addresses behind one selector, or, where it selects nearly all pods, those of the few others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from quilt_crds.names import SLICE_SIZE
from quilt_crds.wire_policy import PeersSpec, peers_spec
from quilt_operator.core.slices import Slices
from quilt_policy.objects import NamedPort
from quilt_policy.selectors import PeerSelector

# A set of fewer addresses is never kept by its complement: until a new pod's address is in that, the pod
# counts as selected. For thousands of addresses it is the price of not writing them all.
_LARGE: Final = 16 * SLICE_SIZE
# It is when so many times as many pods are selected as are not, and until so many times.
_NEARLY_ALL: Final = 8
_STILL: Final = 4


class PeerSet:
    """Addresses, of which those in `slices` are not behind the selector where `complement` is set.

    `dirty` is where it enters itself when there is something to write.
    """

    __slots__ = ("_changed", "_dirty", "complement", "members", "selector", "slices")

    def __init__(self, selector: PeerSelector, dirty: dict[PeerSet, None]) -> None:
        """Make an empty one, which is to be written."""
        self.selector, self.complement = selector, False
        self.slices = Slices()
        self.members = 0
        """How many addresses are behind the selector."""
        self._dirty = dirty
        self._changed: set[int] = set()
        self._touch({0})

    def join(self, address: int) -> None:
        """Enter an address that is behind the selector."""
        self.members += 1
        if not self.complement:
            self._touch(self.slices.add(address))

    def leave(self, address: int) -> None:
        """Remove an address that was."""
        self.members -= 1
        if not self.complement:
            self._touch(self.slices.remove(address))

    def other_came(self, address: int) -> None:
        """Enter a pod's address that is not behind the selector."""
        if self.complement:
            self._touch(self.slices.add(address))

    def other_went(self, address: int) -> None:
        """Remove a pod's address that was not."""
        if self.complement:
            self._touch(self.slices.remove(address))

    def turns(self, pods: int) -> bool:
        """Whether it should be kept the other way round, among so many addresses of pods."""
        others = pods - self.members
        if self.complement:
            return self.members < _LARGE // 2 or others * _STILL > self.members
        return self.members >= _LARGE and others * _NEARLY_ALL <= self.members

    def turn(self, addresses: Iterable[int]) -> None:
        """Keep these addresses, which are those that were left out."""
        self.complement = not self.complement
        self._replace(Slices(addresses), 0)

    def resume(self, known: Mapping[int, Iterable[int]]) -> None:
        """Keep addresses in the slices where they are known to be, all of which are to be written."""
        self._replace(Slices.resumed(set(self.slices.addresses()), known), max(known, default=0))

    def spec(self, number: int) -> PeersSpec | None:
        """Return what a slice says; None for one that is gone: all are of a port's number that no pod has."""
        if number >= len(self.slices) or (self.selector.number and not self.members):
            return None
        of, text = len(self.slices), self.selector.text
        return peers_spec(of, text, self.slices[number], complement=self.complement)

    def take_changed(self) -> list[int]:
        """Return the numbers of slices to write, and forget them: what is new, slice 0, what is gone."""
        numbers, self._changed = self._changed, set()
        count = len(self.slices)
        return sorted(numbers, key=lambda number: (number >= count, number == 0, number))

    def _replace(self, slices: Slices, last: int) -> None:
        count = max(len(self.slices), len(slices), last + 1)
        self.slices = slices
        self._touch(set(range(count)))

    def _touch(self, numbers: set[int]) -> None:
        self._changed |= numbers
        self._dirty[self] = None


class Wanted:
    """A selector that policies ask for, and the sets that it means."""

    __slots__ = ("_dirty", "selector", "sets", "users")

    def __init__(self, selector: PeerSelector, dirty: dict[PeerSet, None]) -> None:
        self.selector, self._dirty = selector, dirty
        self.users = 0
        """How many policies ask for it."""
        self.sets: dict[int, PeerSet] = {}
        """By number of the named port; 0 is without one, or the family itself, which has no addresses."""
        self.set(0)

    def set(self, number: int) -> PeerSet:
        """Return the set for a number of the named port."""
        if number not in self.sets:
            selector = self.selector.with_number(number) if number else self.selector
            self.sets[number] = PeerSet(selector, self._dirty)
        return self.sets[number]

    def of(self, ports: Iterable[NamedPort]) -> list[PeerSet]:
        """Return the sets of a pod that is selected and has these named ports."""
        if not self.selector.is_family:
            return [self.set(0)]
        return [self.set(number) for number in self.selector.numbers(ports)]
