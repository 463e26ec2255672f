"""How messages and their attributes are put into bytes and read back: what `schema` is written in.

A type of attributes has `pack` and `unpack`; what is malformed is read as None and then left out. A message
and an attribute made of attributes are both a Shape. Reading copies nothing that is not returned.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any, Protocol

Attributes = list[tuple[str, Any]]
"""(name, value); the value of an attribute made of attributes is {**fields, "attrs": Attributes}."""

NESTED = 0x8000
_TYPE_MASK = 0x3FFF  # without the flags for nested and for network order
ATTR = struct.Struct("=HH")


class Type(Protocol):
    """What an attribute's value is."""

    def pack(self, value: Any) -> bytes:
        """Return the bytes of a value; raises OSError, ValueError or struct.error for what is none."""

    def unpack(self, data: memoryview) -> Any:
        """Return the value of bytes, None where they are of another type."""


class Number:
    """A number of a fixed size."""

    def __init__(self, form: str) -> None:
        self._struct = struct.Struct(form)
        self.pack = self._struct.pack

    def unpack(self, data: memoryview) -> int | None:
        """Return the number."""
        return int(self._struct.unpack(data)[0]) if len(data) == self._struct.size else None


class Text:
    """Text, ended by a zero byte."""

    def pack(self, value: str) -> bytes:
        """Return the text's bytes."""
        return value.encode() + b"\0"

    def unpack(self, data: memoryview) -> str:
        """Return the text."""
        return bytes(data).rstrip(b"\0").decode(errors="replace")


class Mac:
    """A hardware address; one of six bytes is written."""

    def pack(self, value: str) -> bytes:
        """Return the six bytes of a MAC; raises ValueError when it is none."""
        packed = bytes.fromhex(value.replace(":", ""))
        if len(packed) != 6:
            raise ValueError(f"{value!r} is not a MAC")
        return packed

    def unpack(self, data: memoryview) -> str:
        """Return it in colons."""
        return data.hex(":")


class Ip:
    """An address of either family, told by its size."""

    def pack(self, value: str) -> bytes:
        """Return the address' bytes; raises OSError when it is none."""
        return inet_pton(AF_INET6 if ":" in value else AF_INET, value)

    def unpack(self, data: memoryview) -> str | None:
        """Return it in its canonical spelling."""
        if len(data) == 4:
            return inet_ntop(AF_INET, data)
        return inet_ntop(AF_INET6, data) if len(data) == 16 else None


class Raw:
    """Bytes as they are."""

    pack = unpack = staticmethod(bytes)


class Shape:
    """Fixed fields, then attributes by name."""

    def __init__(self, attrs: Mapping[str, tuple[int, Type]], form: str = "", *names: str) -> None:
        self.form, self.names, self.attrs = form, names, attrs
        self.fixed = struct.Struct(form if form.startswith(">") else "=" + form)
        self._read = {number & _TYPE_MASK: (name, kind.unpack) for name, (number, kind) in attrs.items()}
        self._late = [(name, kind) for name, (_, kind) in attrs.items() if isinstance(kind, ByKind)]

    def pack(self, value: Mapping[str, Any]) -> bytes:
        """Return the bytes of {**fields, "attrs": Attributes}; a field that is not given is zero."""
        unknown = value.keys() - {*self.names, "attrs"}
        if unknown:
            raise KeyError(*unknown)
        fields = [value.get(name, 0) for name in self.names]
        return self.fixed.pack(*fields) + self._attributes(value.get("attrs", []))

    def unpack(self, data: memoryview) -> dict[str, Any] | None:
        """Return fields and attributes by name; an attribute that is absent or malformed is left out."""
        return self.read(data, 0, len(data)) if len(data) >= self.fixed.size else None

    def read(self, view: memoryview, at: int, end: int) -> dict[str, Any]:
        """Return what `unpack` does, of a stretch that is long enough for the fixed fields."""
        found: dict[str, Any] = dict(zip(self.names, self.fixed.unpack_from(view, at), strict=True))
        known = self._read
        for number, start, stop in walk_attributes(view, at + self.fixed.size, end):
            if number in known:
                name, unpack = known[number]
                value = unpack(view[start:stop])
                if value is not None:
                    found[name] = value
        for name, kind in self._late:
            if name in found:
                found[name] = kind.choose(found, found[name])
        return found

    def _attributes(self, attrs: Attributes) -> bytes:
        packed = []
        for name, value in attrs:
            number, kind = self.attrs[name]
            if isinstance(kind, ByKind):
                kind = kind.kinds[dict(attrs)[kind.decider]]
            packed.append(attribute(number, kind.pack(value)))
        return b"".join(packed)


class ByKind(Raw):
    """Attributes whose shape a text attribute beside them decides."""

    def __init__(self, decider: str, **kinds: Shape) -> None:
        self.decider = decider
        self.kinds = kinds

    def choose(self, beside: Mapping[str, Any], data: bytes) -> dict[str, Any]:
        """Return what the bytes hold; nothing where they are of another kind."""
        kind = self.kinds.get(beside.get(self.decider, ""))
        return (kind and kind.unpack(memoryview(data))) or {}


class Items:
    """Any number of attributes, all of one type number: a list."""

    def __init__(self, number: int, kind: Type) -> None:
        self._number = number
        self._kind = kind

    def pack(self, value: Iterable[Any]) -> bytes:
        """Return the bytes of a list."""
        return b"".join([attribute(self._number, self._kind.pack(item)) for item in value])

    def unpack(self, data: memoryview) -> list[Any]:
        """Return the items that are well-formed."""
        found = [
            self._kind.unpack(data[start:stop])
            for number, start, stop in walk_attributes(data, 0, len(data))
            if number == self._number
        ]
        return [item for item in found if item is not None]


class Hops(Raw):
    """The interfaces of a route of several hops (struct rtnexthop), read only."""

    _HOP = struct.Struct("=HBBi")

    def unpack(self, data: memoryview) -> list[int]:  # type: ignore[override]
        """Return their indexes."""
        found, at = [], 0
        while at + self._HOP.size <= len(data):
            length, _, _, index = self._HOP.unpack_from(data, at)
            found.append(index)
            at += max(length, self._HOP.size)
        return found


U8, U32, U64, S32, BE16 = map(Number, ("=B", "=I", "=Q", "=i", ">H"))
TEXT, MAC, IP, RAW = Text(), Mac(), Ip(), Raw()


def attribute(number: int, value: bytes) -> bytes:
    """Return an attribute with its header and padding."""
    return ATTR.pack(len(value) + 4, number) + value + bytes(-len(value) & 3)


def walk_attributes(view: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the attributes in a stretch, in their order: (type without its flags, start and end of value)."""
    while at + 4 <= end:
        length, number = ATTR.unpack_from(view, at)
        if length < 4 or at + length > end:
            return
        yield number & _TYPE_MASK, at + 4, at + length
        at += (length + 3) & ~3
