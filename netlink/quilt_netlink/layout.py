"""How the messages of a dump are laid out: most have the same fixed fields, and attributes of the same sizes.

Those that are laid out like one before them are unpacked together, not attribute by attribute: what they have
in common is compared, and each attribute's values come as a column, read without a step of Python for each.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import takewhile
from operator import eq
from typing import Any, Self

from quilt_netlink.shapes import ATTRIBUTE, HEADER, AnyType, Shape, Type

Columns = Mapping[str, Sequence[Any]]
"""Values of attributes by name, one for each message; None for a malformed one."""
_Unpack = Callable[[Any], Any]


class Layout:
    """All that messages have but their attributes' values: header, fixed fields, attributes' headers."""

    def __init__(
        self, alike: str, expected: Sequence[bytes], values: str, columns: Mapping[str, _Unpack | None]
    ) -> None:
        self._alike = struct.Struct(alike)
        self._expected = tuple(expected)
        self._values = struct.Struct(values)
        self._columns = columns
        self.size = self._alike.size
        """Bytes from one message to the next."""

    @classmethod
    def of(cls, shape: Shape, view: memoryview, start: int, end: int) -> Self | None:
        """Return the layout of a message; None for one that is to be read attribute by attribute."""
        if shape.late:
            return None
        at = start + HEADER.size + shape.fixed.size
        alike, values = f"={at - start}s", f"={at - start}x"
        expected, columns = [bytes(view[start:at])], dict[str, _Unpack | None]()
        while at + ATTRIBUTE.size <= end:
            length, number = ATTRIBUTE.unpack_from(view, at)
            size = length - ATTRIBUTE.size
            if size < 0 or at + length > end:
                return None
            expected.append(bytes(view[at : at + ATTRIBUTE.size]))
            form = f"{size}x"
            if found := shape.known(number):
                name, kind = found
                if name in columns:
                    return None
                form, columns[name] = _column(kind, size)
            padding = min(-length & 3, end - at - length)
            alike += f"4s{size + padding}x"
            values += f"4x{form}{padding}x"
            at += length + padding
        rest = f"{end - at + (start - end & 3)}x"
        return cls(alike + rest, expected, values + rest, columns) if columns else None

    def count(self, view: memoryview, start: int, end: int) -> int:
        """Return how many messages from `start` on are laid out so."""
        found = self._alike.iter_unpack(view[start : end - (end - start) % self.size])
        return len(list(takewhile(partial(eq, self._expected), found)))

    def read(self, view: memoryview, start: int, count: int) -> Columns:
        """Return the values of so many messages, of which there are some."""
        rows = self._values.iter_unpack(view[start : start + count * self.size])
        columns = zip(self._columns.items(), zip(*rows, strict=True), strict=True)
        return {name: list(map(unpack, column)) if unpack else column for (name, unpack), column in columns}


def _column(kind: AnyType, size: int) -> tuple[str, _Unpack | None]:
    """Return the `struct` form of values of this size, and what makes a value of that unless it is one."""
    form, unpack = f"{size}s", kind.unpack
    if isinstance(kind, Type):
        if kind.form and struct.calcsize(f"={kind.form}") == size:
            return kind.form, None
        unpack = kind.sizes.get(size, unpack)
    return form, unpack
