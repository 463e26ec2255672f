"""How messages and their attributes are put into bytes and read back: what `schema` is written in.

A message and an attribute made of attributes are both a Shape. Reading copies nothing that is not returned.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any

Attributes = list[tuple[str, Any]]
"""(name, value); the value of an attribute made of attributes is {**fields, "attrs": Attributes}."""

NESTED = 0x8000
_TYPE_MASK = 0x3FFF  # without the flags for nested and for network order
_ATTR = struct.Struct("=HH")
_HOP = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, hops, index


@dataclass(frozen=True, slots=True)
class Type:
    """What an attribute's value is.

    `pack` raises OSError, ValueError or struct.error for an invalid value. `unpack` returns None for bytes of
    another type; the attribute is then left out.
    """

    pack: Callable[[Any], bytes]
    unpack: Callable[[memoryview], Any]


def pack_ip(text: str) -> bytes:
    """Pack an address of either family; raises OSError when it is invalid."""
    return inet_pton(AF_INET6 if ":" in text else AF_INET, text)


def pack_mac(text: str) -> bytes:
    """Pack a MAC; raises ValueError when it is invalid."""
    packed = bytes.fromhex(text.replace(":", ""))
    if len(packed) != 6:
        raise ValueError(f"{text!r} is not a MAC")
    return packed


def attribute(number: int, value: bytes) -> bytes:
    """Return an attribute with its header and padding."""
    return _ATTR.pack(len(value) + 4, number) + value + bytes(-len(value) & 3)


def walk_attributes(view: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the attributes in a stretch, in their order: (type without its flags, start and end of value)."""
    while at + 4 <= end:
        length, number = _ATTR.unpack_from(view, at)
        if length < 4 or at + length > end:
            return
        yield number & _TYPE_MASK, at + 4, at + length
        at += (length + 3) & ~3


class Shape:
    """Fixed fields (a `struct` form and their names), then attributes by name."""

    def __init__(self, attrs: Mapping[str, tuple[int, AnyType]], form: str = "", *names: str) -> None:
        self.form, self.names, self.attrs = form, names, attrs
        self.fixed = struct.Struct(form if form.startswith(">") else "=" + form)
        self._read = {number & _TYPE_MASK: (name, kind.unpack) for name, (number, kind) in attrs.items()}
        self._late = [(name, kind) for name, (_, kind) in attrs.items() if isinstance(kind, ByKind)]

    def pack(self, value: Mapping[str, Any]) -> bytes:
        """Return the bytes of {**fields, "attrs": Attributes}; a field that is not given is zero."""
        unknown = value.keys() - {*self.names, "attrs"}
        if unknown:
            raise KeyError(*unknown)
        packed = [self.fixed.pack(*(value.get(name, 0) for name in self.names))]
        attrs = value.get("attrs", [])
        for name, content in attrs:
            number, kind = self.attrs[name]
            if isinstance(kind, ByKind):
                kind = kind.kinds[dict(attrs)[kind.decider]]
            packed.append(attribute(number, kind.pack(content)))
        return b"".join(packed)

    def unpack(self, data: memoryview) -> dict[str, Any] | None:
        """Return fields and attributes by name; an attribute that is absent or malformed is left out."""
        return self.read(data, 0, len(data)) if len(data) >= self.fixed.size else None

    def read(self, view: memoryview, at: int, end: int) -> dict[str, Any]:
        """Return what `unpack` does, of a stretch that is long enough for the fixed fields."""
        found: dict[str, Any] = dict(zip(self.names, self.fixed.unpack_from(view, at)))  # noqa: B905  # as many as there are
        known, attr = self._read, _ATTR.unpack_from
        at += self.fixed.size
        while at + 4 <= end:  # as walk_attributes does, which would double the time of a long table
            length, number = attr(view, at)
            if length < 4 or at + length > end:
                break
            if (number := number & _TYPE_MASK) in known:
                name, unpack = known[number]
                value = unpack(view[at + 4 : at + length])
                if value is not None:
                    found[name] = value
            at += (length + 3) & ~3
        for name, kind in self._late:
            if name in found:
                found[name] = kind.choose(found, found[name])
        return found


class ByKind:
    """Attributes whose shape a text attribute beside them decides."""

    unpack = staticmethod(bytes)

    def __init__(self, decider: str, **kinds: Shape) -> None:
        self.decider = decider
        self.kinds = kinds

    def choose(self, beside: Mapping[str, Any], data: bytes) -> dict[str, Any]:
        """Return what the bytes hold; nothing where they are of another kind."""
        kind = self.kinds.get(beside.get(self.decider, ""))
        return (kind and kind.unpack(memoryview(data))) or {}


AnyType = Type | Shape | ByKind


def items(number: int, kind: Type | Shape) -> Type:
    """Return the type of a list: any number of attributes, all of one type number."""

    def unpack(data: memoryview) -> list[Any]:
        parts = [data[at:end] for found, at, end in walk_attributes(data, 0, len(data)) if found == number]
        return [item for item in map(kind.unpack, parts) if item is not None]

    return Type(lambda value: b"".join(attribute(number, kind.pack(item)) for item in value), unpack)


def _number(form: str) -> Type:
    shape = struct.Struct(form)
    unpack, size = shape.unpack, shape.size
    return Type(shape.pack, lambda data: unpack(data)[0] if len(data) == size else None)


def _ip(data: memoryview) -> str | None:
    if len(data) == 4:
        return inet_ntop(AF_INET, data)
    return inet_ntop(AF_INET6, data) if len(data) == 16 else None


def _hops(data: memoryview) -> list[int]:
    found, at = [], 0
    while at + _HOP.size <= len(data):
        length, _, _, index = _HOP.unpack_from(data, at)
        found.append(index)
        at += max(length, _HOP.size)
    return found


U8, U32, U64, S32, BE16 = map(_number, ("=B", "=I", "=Q", "=i", ">H"))
TEXT = Type(
    lambda text: text.encode() + b"\0", lambda data: bytes(data).rstrip(b"\0").decode(errors="replace")
)
"""Text, ended by a zero byte."""
MAC = Type(pack_mac, lambda data: data.hex(":"))
"""A hardware address; one of six bytes is written."""
IP = Type(pack_ip, _ip)
"""An address of either family, known by its size."""
RAW = Type(bytes, bytes)
HOPS = Type(bytes, _hops)
"""The indexes of the interfaces of a route of several hops, read only."""
