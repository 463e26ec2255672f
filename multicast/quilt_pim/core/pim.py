"""PIM version 2 messages as RFC 7761 §4.9 lays them out: Hello, both ways, and Join/Prune, IPv4.

`parse` accepts nothing that is not exactly right (version, checksum, lengths, address families) and raises
PimError; message types that are of no use here come back as Other.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

VERSION = 2
HELLO = 0
JOIN_PRUNE = 3

HOLDTIME = 105
HELLO_PERIOD = 30.0
# RFC 7761 §4.9.2: this holdtime never runs out, zero is a goodbye.
HOLDTIME_FOREVER = 0xFFFF

_OPTION_HOLDTIME = 1
_OPTION_DR_PRIORITY = 19
_OPTION_GENERATION_ID = 20
# Values of an option that arrive with another length are an error; other options are skipped.
_LENGTHS = {_OPTION_HOLDTIME: 2, _OPTION_DR_PRIORITY: 4, _OPTION_GENERATION_ID: 4}

_IPV4 = 1
_NATIVE = 0
_WILDCARD, _RPT = 0x02, 0x01

_HEADER = struct.Struct("!BBH")
_UNICAST = struct.Struct("!BB4s")
_PREFIXED = struct.Struct("!BBBB4s")
_OPTION = struct.Struct("!HH")


class PimError(ValueError):
    """A packet that is not a valid PIM message; the text says where."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a router says of itself; None where it sent no such option."""

    holdtime: int = HOLDTIME
    dr_priority: int | None = None
    generation_id: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One source of one group: a wildcard entry carries the rendezvous point as its source."""

    group: str
    source: str
    wildcard: bool = False
    rpt: bool = False


@dataclass(frozen=True, slots=True)
class JoinPrune:
    """Joins and prunes meant for the router `upstream`, valid for `holdtime` seconds."""

    upstream: str
    joins: tuple[Entry, ...] = ()
    prunes: tuple[Entry, ...] = ()
    holdtime: int = 210


@dataclass(frozen=True, slots=True)
class Other:
    """A valid message of a type that is not acted on."""

    kind: int


Message = Hello | JoinPrune | Other


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071); over a message with its checksum in place it is zero."""
    padded = data + b"\0" if len(data) % 2 else data
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def parse(data: bytes) -> Message:
    """Read the payload of an IP packet of protocol 103."""
    if len(data) < _HEADER.size:
        raise PimError(f"{len(data)} bytes are shorter than the header of 4")
    first, _, _ = _HEADER.unpack_from(data)
    if first >> 4 != VERSION:
        raise PimError(f"version {first >> 4} is not {VERSION}")
    kind = first & 0x0F
    if kind not in (HELLO, JOIN_PRUNE):
        # A Register's checksum leaves its payload out: types that are not read are not judged either.
        return Other(kind)
    if checksum(data) != 0:
        raise PimError("the checksum is wrong")
    body = _Reader(data[_HEADER.size :])
    return _hello(body) if kind == HELLO else _join_prune(body)


def build_hello(hello: Hello) -> bytes:
    """The message, ready to be sent to 224.0.0.13 with a TTL of 1."""
    body = _OPTION.pack(_OPTION_HOLDTIME, 2) + struct.pack("!H", hello.holdtime)
    more = {_OPTION_DR_PRIORITY: hello.dr_priority, _OPTION_GENERATION_ID: hello.generation_id}
    for option, value in more.items():
        if value is not None:
            body += _OPTION.pack(option, 4) + struct.pack("!I", value)
    first = VERSION << 4 | HELLO
    return _HEADER.pack(first, 0, checksum(_HEADER.pack(first, 0, 0) + body)) + body


class _Reader:
    """Takes fields off the front of a message; PimError where it ends too soon."""

    def __init__(self, data: bytes) -> None:
        self.left = memoryview(data)

    def take(self, size: int) -> memoryview:
        if size > len(self.left):
            raise PimError(f"the message ends {size - len(self.left)} bytes too soon")
        taken, self.left = self.left[:size], self.left[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def unicast(self) -> str:
        family, encoding, address = _UNICAST.unpack(self.take(_UNICAST.size))
        return _address(family, encoding, address)

    def prefixed(self) -> tuple[str, int]:
        """An encoded group or source: its address and flags. RFC 7761 has no other mask than a full one."""
        family, encoding, flags, mask, address = _PREFIXED.unpack(self.take(_PREFIXED.size))
        if mask != 32:
            raise PimError(f"a mask of {mask} bits is not 32")
        return _address(family, encoding, address), flags


def _address(family: int, encoding: int, address: bytes) -> str:
    if family != _IPV4 or encoding != _NATIVE:
        raise PimError(f"address family {family} in encoding {encoding} is not IPv4 in its native one")
    return str(IPv4Address(address))


def _hello(body: _Reader) -> Hello:
    found: dict[int, int] = {}
    while body.left:
        option, length = body.number(2), body.number(2)
        if _LENGTHS.get(option, length) != length:
            raise PimError(f"option {option} of {length} bytes should have {_LENGTHS[option]}")
        value = body.take(length)
        if option in _LENGTHS:
            found[option] = int.from_bytes(value, "big")
    return Hello(
        found.get(_OPTION_HOLDTIME, HOLDTIME),
        found.get(_OPTION_DR_PRIORITY),
        found.get(_OPTION_GENERATION_ID),
    )


def _join_prune(body: _Reader) -> JoinPrune:
    upstream = body.unicast()
    body.take(1)
    groups, holdtime = body.number(1), body.number(2)
    joins: list[Entry] = []
    prunes: list[Entry] = []
    for _ in range(groups):
        group, _flags = body.prefixed()
        if not IPv4Address(group).is_multicast:
            raise PimError(f"{group} is not a multicast group")
        counts = body.number(2), body.number(2)
        for count, entries in zip(counts, (joins, prunes), strict=True):
            entries.extend(_entry(group, *body.prefixed()) for _ in range(count))
    if body.left:
        raise PimError(f"{len(body.left)} bytes follow the last group")
    return JoinPrune(upstream, tuple(joins), tuple(prunes), holdtime)


def _entry(group: str, source: str, flags: int) -> Entry:
    if IPv4Address(source).is_multicast:
        raise PimError(f"{source} is not a unicast source of {group}")
    return Entry(group, source, bool(flags & _WILDCARD), bool(flags & _RPT))
