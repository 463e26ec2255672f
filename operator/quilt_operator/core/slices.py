"""A set of addresses in slices, each of which is one object: an address stays in its slice.

So one that comes or leaves changes one object, of however many. Slices are arrays: four bytes an address.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping

from quilt_crds.names import SLICE_SIZE

# The last slice is given up when the others could hold four times as many as there are.
_SPARSE = 4


class Slices:
    """Distinct addresses, as numbers, in slices from 0; one that is empty has one empty slice."""

    __slots__ = ("_parts", "count")

    def __init__(self, addresses: Iterable[int] = ()) -> None:
        """Divide these addresses; neighbors, which tend to be of one node, come into one slice."""
        ordered = array("I", sorted(addresses))
        self.count = len(ordered)
        """How many addresses there are."""
        starts = range(0, len(ordered), SLICE_SIZE)
        self._parts = [ordered[start : start + SLICE_SIZE] for start in starts] or [array("I")]

    @classmethod
    def resumed(cls, addresses: set[int], known: Mapping[int, Iterable[int]]) -> Slices:
        """Divide these addresses so that each stays in the slice where it is known to be."""
        resumed, left = cls(), set(addresses)
        parts = []
        for number in range(max(known, default=-1) + 1):
            kept = left.intersection(known.get(number, ()))
            left -= kept
            parts.append(array("I", sorted(kept)[:SLICE_SIZE]))
            left.update(sorted(kept)[SLICE_SIZE:])
        resumed._parts = parts or resumed._parts
        resumed.count = len(addresses) - len(left)
        resumed._shrink()
        for address in sorted(left):
            resumed.add(address)
        return resumed

    def __len__(self) -> int:
        """How many slices there are."""
        return len(self._parts)

    def __getitem__(self, number: int) -> array[int]:
        """The addresses of one slice, ascending; not to be changed."""
        return self._parts[number]

    def addresses(self) -> Iterator[int]:
        """Yield all addresses."""
        for part in self._parts:
            yield from part

    def add(self, address: int) -> set[int]:
        """Enter an address that is not there; return the numbers of the slices that are other than before."""
        self.count += 1
        if self.count > len(self._parts) * SLICE_SIZE:
            self._parts.append(array("I", (address,)))
            return {0, len(self._parts) - 1}
        return {self._place(address)}

    def remove(self, address: int) -> set[int]:
        """Remove an address that is there; return the numbers of the slices that are other or gone."""
        number = self._find(address)
        part = self._parts[number]
        del part[bisect_left(part, address)]
        self.count -= 1
        return {number} | self._shrink()

    def _shrink(self) -> set[int]:
        touched: set[int] = set()
        while (last := len(self._parts) - 1) and (
            not self._parts[last] or self.count * _SPARSE <= last * SLICE_SIZE
        ):
            moved = self._parts.pop()
            touched |= {0, last, *map(self._place, moved)}
        return touched

    def _place(self, address: int) -> int:
        """Put an address into a slice with room, the last one if it has; there is one."""
        number = len(self._parts) - 1
        if len(self._parts[number]) >= SLICE_SIZE:
            number = next(at for at, part in enumerate(self._parts) if len(part) < SLICE_SIZE)
        insort(self._parts[number], address)
        return number

    def _find(self, address: int) -> int:
        for number, part in enumerate(self._parts):
            if part and part[0] <= address <= part[-1]:
                at = bisect_left(part, address)
                if part[at] == address:
                    return number
        raise KeyError(address)
