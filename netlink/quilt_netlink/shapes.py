"""How messages and their attributes are put into bytes and read back: what `schema` is written in.

An attribute made of attributes is a Shape, and so is a message (Kind). Reading copies nothing that is not
returned.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from operator import methodcaller
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any

from msgspec import Struct

from quilt_netlink.constants import NLM_F_REQUEST

Attributes = list[tuple[str, Any]]
"""(name, value); the value of an attribute made of attributes is {**fields, "attrs": Attributes}."""
Message = Mapping[str, Any]
"""Fixed fields and attributes by name, what is absent or malformed left out."""

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""
NEW, DEL, GET, SET = range(4)
"""What a message is for: types come in fours, and a question is answered with the first of its own."""
BITS: Mapping[int, int] = {AF_INET: 32, AF_INET6: 128}
"""How long an address of a family is."""
NESTED = 0x8000
_TYPE_MASK = 0x3FFF  # without the flags for nested and for network order
ATTRIBUTE = struct.Struct("=HH")
_HOP = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, hops, index


class Type(Struct, frozen=True, eq=False):
    """What an attribute's value is.

    `pack` raises OSError, ValueError or struct.error for an invalid value. `unpack` returns None for bytes of
    another type; the attribute is then left out. `form` is that of a number in the machine's byte order;
    `sizes` unpack bytes that are known to be so many.
    """

    pack: Callable[[Any], bytes]
    unpack: Callable[[Any], Any]
    form: str = ""
    sizes: Mapping[int, Callable[[Any], Any]] = {}


def family_of(text: str) -> int:
    """Return the family of an address or prefix."""
    return AF_INET6 if ":" in text else AF_INET


def pack_ip(text: str) -> bytes:
    """Pack an address of either family; raises OSError when it is invalid."""
    return inet_pton(AF_INET6 if ":" in text else AF_INET, text)


def pack_ips(texts: Sequence[str]) -> list[bytes]:
    """Pack addresses that are all of the first one's family; raises OSError when one is not."""
    return list(map(inet_pton, repeat(family_of(texts[0])), texts))


def number4(text: str) -> int:
    """Return a canonically spelled IPv4 address as a number, -1 for anything else.

    The ipaddress module would take several times as long, and thousands come at once.
    """
    try:
        packed = pack_ip(text)
    except (OSError, ValueError):  # ValueError: a zero character within
        return -1
    return int.from_bytes(packed) if len(packed) == 4 else -1


def pack_mac(text: str) -> bytes:
    """Pack a MAC; raises ValueError when it is invalid."""
    packed = bytes.fromhex(text.replace(":", ""))
    if len(packed) != 6:
        raise ValueError(f"{text!r} is not a MAC")
    return packed


def attribute(number: int, value: bytes) -> bytes:
    """Return an attribute with its header and padding."""
    return ATTRIBUTE.pack(len(value) + 4, number) + value + bytes(-len(value) & 3)


class Shape:
    """Fixed fields (a `struct` form and their names), then attributes by name."""

    def __init__(self, attrs: Mapping[str, tuple[int, AnyType]], form: str = "", *names: str) -> None:
        self.form, self.names, self.attrs = form, names, attrs
        self.fixed = struct.Struct(form if form.startswith(">") else "=" + form)
        self._known = {number & _TYPE_MASK: (name, kind) for name, (number, kind) in attrs.items()}
        self.late = [(name, kind) for name, (_, kind) in attrs.items() if isinstance(kind, ByKind)]

    def known(self, number: int) -> tuple[str, AnyType] | None:
        """Return name and type of an attribute by its number, whatever its flags; None for an unknown one."""
        return self._known.get(number & _TYPE_MASK)

    def pack(self, value: Message) -> bytes:
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

    def fields(self, view: memoryview, at: int) -> dict[str, Any]:
        """Return the fixed fields by name."""
        return dict(zip(self.names, self.fixed.unpack_from(view, at)))  # noqa: B905  # as many as there are

    def unpack(self, data: memoryview) -> dict[str, Any] | None:
        """Return fields and attributes by name; an attribute that is absent or malformed is left out."""
        return self.read(data, 0, len(data)) if len(data) >= self.fixed.size else None

    def read(self, view: memoryview, at: int, end: int) -> dict[str, Any]:
        """Return what `unpack` does, of a stretch that is long enough for the fixed fields."""
        found = self.fields(view, at)
        attr = ATTRIBUTE.unpack_from
        at += self.fixed.size
        while at + 4 <= end:
            length, number = attr(view, at)
            if length < 4 or at + length > end:
                break
            if known := self.known(number):
                name, kind = known
                value = kind.unpack(view[at + 4 : at + length])
                if value is not None:
                    found[name] = value
            at += (length + 3) & ~3
        for name, kind in self.late:
            if name in found:
                found[name] = kind.choose(found, found[name])
        return found


class Kind(Shape):
    """A whole message; `base` is the first of its four types."""

    def __init__(self, base: int, attrs: Mapping[str, tuple[int, AnyType]], form: str, *names: str) -> None:
        super().__init__(attrs, form, *names)
        self.base = base

    def encode(
        self, what: int, fields: Message, attrs: Iterable[tuple[str, Any]] = (), flags: int = 0, seq: int = 0
    ) -> bytes:
        """Encode a message; raises KeyError, struct.error, OSError, ValueError for what cannot be."""
        body = self.pack({**fields, "attrs": list(attrs)})
        return HEADER.pack(HEADER.size + len(body), self.base + what, NLM_F_REQUEST | flags, seq, 0) + body


class ByKind:
    """Attributes whose shape a text attribute beside them decides."""

    unpack = staticmethod(bytes)

    def __init__(self, decider: str, **kinds: Shape) -> None:
        self.decider = decider
        self.kinds = kinds

    def choose(self, beside: Message, data: bytes) -> dict[str, Any]:
        """Return what the bytes hold; nothing where they are of another kind."""
        kind = self.kinds.get(beside.get(self.decider, ""))
        return (kind and kind.unpack(memoryview(data))) or {}


AnyType = Type | Shape | ByKind


def items(number: int, kind: Type | Shape) -> Type:
    """Return the type of a list: any number of attributes, all of one type number."""

    def unpack(data: memoryview) -> list[Any]:
        found = []
        while len(data) >= 4:
            length, held = ATTRIBUTE.unpack_from(data)
            if not 4 <= length <= len(data):
                break
            item = kind.unpack(data[4:length]) if held & _TYPE_MASK == number else None
            found += [] if item is None else [item]
            data = data[(length + 3) & ~3 :]
        return found

    return Type(lambda value: b"".join(attribute(number, kind.pack(item)) for item in value), unpack)


def _number(form: str) -> Type:
    shape = struct.Struct(form)
    unpack, size = shape.unpack, shape.size
    plain = form.removeprefix("=") if form.startswith("=") else ""
    return Type(shape.pack, lambda data: unpack(data)[0] if len(data) == size else None, plain)


_ADDRESSES: Mapping[int, Callable[[Any], str]] = {
    4: partial(inet_ntop, AF_INET),
    16: partial(inet_ntop, AF_INET6),
}


def _ip(data: Any) -> str | None:
    text = _ADDRESSES.get(len(data))
    return text(data) if text else None


def _hops(data: memoryview) -> list[int]:
    found, at = [], 0
    while at + _HOP.size <= len(data):
        length, _, _, index = _HOP.unpack_from(data, at)
        found.append(index)
        at += max(length, _HOP.size)
    return found


U8, U32, U64, S32, BE16, BE32, BE64 = map(_number, ("=B", "=I", "=Q", "=i", ">H", ">I", ">Q"))
TEXT = Type(
    lambda text: text.encode() + b"\0", lambda data: bytes(data).rstrip(b"\0").decode(errors="replace")
)
"""Text, ended by a zero byte."""
MAC = Type(pack_mac, methodcaller("hex", ":"))
"""A hardware address; one of six bytes is written."""
IP = Type(pack_ip, _ip, sizes=_ADDRESSES)
"""An address of either family, known by its size."""
RAW = Type(bytes, bytes)
HOPS = Type(bytes, _hops)
"""The indexes of the interfaces of a route of several hops, read only."""
