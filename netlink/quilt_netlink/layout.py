"""How the messages of a dump are laid out: most have the same attributes, of the same sizes, in one order.

One that is laid out like one before it is read at once, not attribute by attribute: in half the time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Self

from quilt_netlink.shapes import ATTRIBUTE, Shape, Type

_Known = tuple[int, str, Callable[[Any], Any] | None]
"""A value's place among all, its name, and how it is unpacked: not at all where it is a plain number."""


class Layout:
    """The sizes and types of one message's attributes, and what becomes of each value."""

    def __init__(self, shape: Shape, parts: list[str], headers: dict[int, int], known: list[_Known]) -> None:
        self._names = shape.names
        self._whole = struct.Struct("".join(parts))
        self._headers = itemgetter(*headers)
        self._expected = tuple(headers.values())
        self._known = known

    @classmethod
    def of(cls, shape: Shape, view: memoryview, at: int, end: int) -> Self | None:
        """Return the layout of a message; None for one that cannot be read at once."""
        if shape.late or not shape.fixed.format.startswith("="):
            return None
        parts, headers, known = [shape.fixed.format], dict[int, int](), list[_Known]()
        place, at = len(shape.names), at + shape.fixed.size
        while at + 4 <= end:
            length, number = ATTRIBUTE.unpack_from(view, at)
            if length < 4 or at + length > end:
                return None
            headers |= {place: length, place + 1: number}
            place += 2
            form = f"{length - 4}x"
            if found := shape.known(number):
                name, kind = found
                number_form = kind.form if isinstance(kind, Type) else ""
                plain = number_form and struct.calcsize(f"={number_form}") == length - 4
                form = number_form if plain else f"{length - 4}s"
                known.append((place, name, None if plain else kind.unpack))
                place += 1
            padding = min(-length & 3, end - at - length)
            parts += ["HH", form, f"{padding}x"]
            at += length + padding
        return cls(shape, parts, headers, known) if headers else None

    def read(self, view: memoryview, at: int) -> dict[str, Any] | None:
        """Return what `Shape.read` does, for one of the same size; None where it is laid out otherwise."""
        values = self._whole.unpack_from(view, at)
        if self._headers(values) != self._expected:
            return None
        found: dict[str, Any] = dict(zip(self._names, values))  # noqa: B905  # as many as there are
        for place, name, unpack in self._known:
            value = unpack(values[place]) if unpack else values[place]
            if value is not None:
                found[name] = value
        return found
