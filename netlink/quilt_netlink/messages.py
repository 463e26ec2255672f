"""Messages to bytes and back, by the tables of `schema`.

`encode` serves what is rare or a template's first; `decode` what has no reader of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import repeat
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any

from quilt_netlink.schema import (
    IP,
    MAC,
    RAW,
    TEXT,
    Attrs,
    ByKind,
    Nested,
    Schema,
    Type,
    ifaddrmsg,
    ifinfmsg,
    ndmsg,
    nhmsg,
    rtmsg,
)

__all__ = ["Attributes", "Message", "decode", "encode", "ifaddrmsg", "ifinfmsg", "ndmsg", "nhmsg", "rtmsg"]

Attributes = list[tuple[str, Any]]
"""(name, value); the value of a nested attribute is {"attrs": Attributes}."""

_HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF  # without the flags for nested and for network order
_NO_FIELDS: Mapping[str, int] = {}


def encode(
    kind: Schema,
    message_type: int,
    flags: int,
    fields: Mapping[str, int],
    attrs: Attributes,
    seq: int = 0,
) -> bytes:
    """Encode one message; raises KeyError, struct.error, OSError, ValueError for what cannot be."""
    values = [0] * len(kind.names)
    for name, value in fields.items():
        values[kind.places[name]] = value
    body = kind.fixed.pack(*values) + _attributes(kind.attrs, attrs)
    return _HEADER.pack(_HEADER.size + len(body), message_type, flags, seq, 0) + body


class Message:
    """A decoded message, or the attributes within an attribute."""

    __slots__ = ("_attrs", "_fields")

    def __init__(self, attrs: Mapping[str, Any], fields: Mapping[str, int] = _NO_FIELDS) -> None:
        self._attrs = attrs
        self._fields = fields

    def __getitem__(self, name: str) -> int:
        return self._fields[name]

    def get_attr(self, name: str) -> Any:
        """Return an attribute's value, a Message for a nested one; None where it is absent or malformed."""
        return self._attrs.get(name)


def decode(kind: Schema, data: bytes) -> Message:
    """Decode one message, header included; raises struct.error for one that is too short."""
    fields = dict(zip(kind.names, kind.fixed.unpack_from(data, _HEADER.size), strict=True))
    return Message(_read(kind.attrs, data[_HEADER.size + kind.fixed.size :]), fields)


def pack_ip(text: str) -> bytes:
    """Pack an address of either family; raises OSError when it is none."""
    return inet_pton(AF_INET6 if ":" in text else AF_INET, text)


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
    """Pack a MAC; raises ValueError when it is none."""
    return pack_macs((text,))[0]


def pack_ips(texts: Sequence[str]) -> list[bytes]:
    """Pack addresses that are all of the first one's family; raises OSError when one is not."""
    return list(map(inet_pton, repeat(AF_INET6 if ":" in texts[0] else AF_INET), texts))


def pack_macs(texts: Sequence[str]) -> list[bytes]:
    """Pack MACs; raises ValueError when one is none."""
    packed = [bytes.fromhex(text.replace(":", "")) for text in texts]
    for size in set(map(len, packed)) - {6}:
        wrong = next(text for text, value in zip(texts, packed, strict=True) if len(value) == size)
        raise ValueError(f"{wrong!r} is not a MAC")
    return packed


def _attributes(table: Attrs, attrs: Attributes) -> bytes:
    return b"".join(_attribute(*table[name], value, attrs) for name, value in attrs)


def _attribute(number: int, kind: Type, value: Any, siblings: Attributes) -> bytes:
    packed = _pack(kind, value, siblings)
    return _ATTR.pack(len(packed) + 4, number) + packed + bytes(-len(packed) & 3)


def _pack(kind: Type, value: Any, siblings: Attributes) -> bytes:
    if isinstance(kind, ByKind):
        kind = kind.kinds[dict(siblings)[kind.decider]]
    if isinstance(kind, Nested):
        return bytes(kind.head) + _attributes(kind.attrs, value["attrs"])
    if isinstance(kind, struct.Struct):
        return kind.pack(value)
    if kind == RAW:
        return bytes(value)
    return {TEXT: _pack_text, MAC: pack_mac, IP: pack_ip}[kind](value)


def _pack_text(text: str) -> bytes:
    return text.encode() + b"\0"


def _read(table: Attrs, data: bytes) -> dict[str, Any]:
    by_number = {number: (name, kind) for name, (number, kind) in table.items()}
    found: dict[str, Any] = {}
    late: list[tuple[str, ByKind, bytes]] = []
    for number, value in walk_attributes(data):
        name, kind = by_number.get(number, ("", TEXT))
        if isinstance(kind, ByKind):
            late.append((name, kind, value))
        elif name and (read := _unpack(kind, value)) is not None:
            found[name] = read
    for name, decided, value in late:
        nested = decided.kinds.get(found.get(decided.decider, ""))
        if nested is not None:
            found[name] = Message(_read(nested.attrs, value[nested.head :]))
    return found


def walk_attributes(data: bytes) -> Sequence[tuple[int, bytes]]:
    """Return the attributes in `data` in their order: (type without its flags, value)."""
    found = []
    at = 0
    while at + 4 <= len(data):
        length, number = _ATTR.unpack_from(data, at)
        if length < 4:
            break
        found.append((number & _TYPE_MASK, data[at + 4 : at + length]))
        at += (length + 3) & ~3
    return found


def _unpack(kind: Type, value: bytes) -> Any:
    if isinstance(kind, Nested):
        return Message(_read(kind.attrs, value[kind.head :]))
    if isinstance(kind, struct.Struct):
        return kind.unpack(value)[0] if len(value) == kind.size else None
    if kind == TEXT:
        return value.rstrip(b"\0").decode(errors="replace")
    if kind == MAC:
        return value.hex(":")
    return inet_ntop(AF_INET6 if len(value) == 16 else AF_INET, value) if len(value) in (4, 16) else None
