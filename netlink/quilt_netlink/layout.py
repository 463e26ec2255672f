"""How the messages of a dump are laid out: most have the same attributes, of the same sizes, in one order.

Those that are laid out like one before them are unpacked at once, not attribute by attribute. Of the tables
that have thousands of entries `decode` makes these of the values in their places.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Set
from operator import itemgetter
from typing import Any, NamedTuple, Self

from quilt_netlink.shapes import ATTRIBUTE, HEADER, Shape, Type

Values = tuple[Any, ...]
"""All that is in a message, in its order: the header's five numbers first, then the family."""
_FAMILY = 5


class Value(NamedTuple):
    """An attribute's value: its place among all, its bytes, and how it is unpacked unless a plain number."""

    place: int
    size: int
    unpack: Callable[[Any], Any] | None


class Layout:
    """The sizes and types of a message's attributes; `fields` are the places of its fixed fields by name."""

    def __init__(
        self, whole: str, alike: dict[int, int], fields: dict[str, int], values: dict[str, Value]
    ) -> None:
        self._whole = struct.Struct(whole)
        self._alike = itemgetter(*alike)
        self._expected = tuple(alike.values())
        self._values = values
        self.fields: Mapping[str, int] = fields
        self.family = alike[_FAMILY]
        self.size = self._whole.size
        """Bytes from one message to the next."""

    @classmethod
    def of(cls, shape: Shape, view: memoryview, start: int, end: int) -> Self | None:
        """Return the layout of a message; None for one that is to be read attribute by attribute."""
        if shape.late or not shape.fixed.format.startswith("="):
            return None
        at = start + HEADER.size
        alike = dict(enumerate((*HEADER.unpack_from(view, start), view[at])))
        fields = {name: place for place, name in enumerate(shape.names, _FAMILY)}
        parts, values = [HEADER.format, shape.form], dict[str, Value]()
        place, at = _FAMILY + len(fields), at + shape.fixed.size
        while at + 4 <= end:
            length, number = ATTRIBUTE.unpack_from(view, at)
            if length < 4 or at + length > end:
                return None
            alike |= {place: length, place + 1: number}
            place += 2
            form = f"{length - 4}x"
            if found := shape.known(number):
                name, kind = found
                if name in values:
                    return None
                plain = _plain(kind, length - 4)
                form = plain or f"{length - 4}s"
                values[name] = Value(place, length - 4, None if plain else kind.unpack)
                place += 1
            padding = min(-length & 3, end - at - length)
            parts += ["HH", form, f"{padding}x"]
            at += length + padding
        parts.append(f"{end - at + (start - end & 3)}x")
        return cls("".join(parts), alike, fields, values)

    @property
    def attributes(self) -> Set[str]:
        """Names of the attributes that are known."""
        return self._values.keys()

    def value(self, name: str, *sizes: int) -> int:
        """Return the place of an attribute of one of these sizes; raises KeyError where it has none."""
        value = self._values[name]
        if value.size not in sizes:
            raise KeyError(name)
        return value.place

    def rows(self, view: memoryview, start: int, end: int) -> Iterator[Values]:
        """Yield the values of the messages from `start` on, up to the first that is laid out otherwise."""
        alike, expected = self._alike, self._expected
        for values in self._whole.iter_unpack(view[start : end - (end - start) % self.size]):
            if alike(values) != expected:
                return
            yield values

    def read(self, values: Values) -> dict[str, Any]:
        """Return what `Shape.read` does."""
        found = {name: values[place] for name, place in self.fields.items()}
        for name, (place, _, unpack) in self._values.items():
            value = unpack(values[place]) if unpack else values[place]
            if value is not None:
                found[name] = value
        return found


def _plain(kind: Any, size: int) -> str:
    """Return the `struct` form of a number in the machine's byte order; empty for anything else."""
    form = kind.form if isinstance(kind, Type) else ""
    return form if form and struct.calcsize(f"={form}") == size else ""
