"""Fixed-layout decoding: a table's entries look alike, so only the first needs a walk over its
attributes.

The first message of a shape is decoded attribute by attribute (`decode`), and what was found where becomes
one `struct` format for the whole message. Later ones are unpacked in one call; their attribute headers
come out with the values and must be exactly those that were learned, else the message is walked like the
first one. So the kernel may send whatever it likes, it only gets slower.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Values = tuple[Any, ...]
Make = Callable[[Values], Any]
"""Makes the entry of an unpacked message, or None for one that is not of interest."""

_MESSAGE = "=IHHII"
FIXED = 5
"""Where the fixed fields begin in what is unpacked: after the message header's five; first the family."""
_SHAPES_PER_SIZE = 4
_ATTR = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of message: its fixed fields, the attributes that matter, and how entries are made of them.

    An attribute that matters is a word ("I") or bytes ("s"). `maker` is given the family and where in the
    unpacked message each of these is; it answers None for a shape that only `decode` understands.
    """

    fixed: str
    attrs: Mapping[int, str]
    maker: Callable[[int, dict[int, int]], Make | None]
    decode: Callable[[memoryview, int, int], Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """One shape of a message; unpacked, its attributes are pairs of header and value from `pairs` on."""

    size: int
    family: int
    unpack: Callable[[memoryview, int], Values]
    pairs: int
    headers: tuple[int, ...]
    make: Make


class Layouts(Generic[T]):
    """The layouts of one kind of message that were learned so far, by size and family."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._fixed_size = struct.calcsize("=" + kind.fixed)
        self._known: dict[tuple[int, int], list[Layout]] = {}

    def find(self, view: memoryview, start: int, end: int) -> Layout | None:
        """Return the layout of a message, learning it if need be; None when only `decode` understands it."""
        key = (end - start, view[start + 16])
        shapes = self._known.setdefault(key, [])
        for layout in shapes:
            if layout.unpack(view, start)[layout.pairs :: 2] == layout.headers:
                return layout
        learned = self._learn(view, start, end) if len(shapes) < _SHAPES_PER_SIZE else None
        if learned is not None:
            shapes.append(learned)
        return learned

    def decode(self, view: memoryview, start: int, end: int) -> T | None:
        """Decode a message by walking it."""
        return self._kind.decode(view, start, end)  # type: ignore[no-any-return]

    def _learn(self, view: memoryview, start: int, end: int) -> Layout | None:
        if end - start < 16 + self._fixed_size:
            return None
        form = _MESSAGE + self._kind.fixed
        pairs = len(struct.unpack_from(form, view, start))
        headers: list[int] = []
        places: dict[int, int] = {}
        at = start + 16 + self._fixed_size
        while at + 4 <= end:
            length, number = _ATTR.unpack_from(view, at)
            size = length - 4
            room = min((length + 3) & ~3, end - at) - 4
            if not 0 <= size <= room:
                return None
            code = self._kind.attrs.get(number)
            if code is None:
                form += f"I0s{room}x"
            elif code == "I" and size != 4:
                return None
            else:
                form += "II" if code == "I" else f"I{size}s{room - size}x"
                places[number] = pairs + 2 * len(headers) + 1
            headers.append(length | number << 16)
            at += room + 4
        family = view[start + 16]
        make = self._kind.maker(family, places)
        packer = struct.Struct(form)
        if make is None or packer.size != end - start:
            return None
        try:
            make(packer.unpack_from(view, start))
        except (ValueError, OSError):  # an address of an impossible size
            return None
        return Layout(packer.size, family, packer.unpack_from, pairs, tuple(headers), make)
