"""What agents tell each other about members: datagrams with a fixed layout, each authenticated whole.

Header: magic, kind, sender's and receiver's VTEP address, the sender's boot number, a counter that never
repeats within a boot; then the body; then HMAC-SHA256 over all before it. The receiver's address inside keeps
a datagram from being replayed to another node, boot and counter from being replayed to the same one.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import IPv4Address
from operator import attrgetter

MAGIC = b"QMC1"
# Fits any underlay with IPv6's smallest MTU less the encapsulation.
LARGEST = 1150
TAG = 32
_HEADER = struct.Struct("!4sB4s4sQQ")
HIGHEST = 0xFFFFFFFF


class WireError(ValueError):
    """A datagram is not from a node of this mesh, or not to be understood."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who sent it and when: `counter` grows with every datagram of a boot."""

    sender: str
    receiver: str
    boot: int
    counter: int


@dataclass(frozen=True, slots=True)
class Digest:
    """The sender's groups are at `version`, and `sum` is what they add up to."""

    version: int
    sum: int


@dataclass(frozen=True, slots=True)
class Delta:
    """What changed from version `base` to `version`."""

    base: int
    version: int
    sum: int
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Full:
    """All groups from address `low` to `high`, both included, at `version`."""

    version: int
    sum: int
    low: int
    high: int
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """The sender holds the receiver's groups as of this boot and version; 0 for nothing."""

    boot: int
    version: int


Body = Digest | Delta | Full | Ack

# By kind: the body, how many of its fields are numbers, and the layout: kind, numbers, and how long each list
# of groups is. The groups follow, four bytes each.
_BODIES: dict[int, tuple[type[Body], int, struct.Struct]] = {
    1: (Digest, 2, struct.Struct("!BQQ")),
    2: (Delta, 3, struct.Struct("!BQQQHH")),
    3: (Full, 4, struct.Struct("!BQQIIH")),
    4: (Ack, 2, struct.Struct("!BQQ")),
}
_KINDS = {body: (kind, attrgetter(*body.__slots__)) for kind, (body, _, _) in _BODIES.items()}
_HEAD = _HEADER.size + max(layout.size for _, _, layout in _BODIES.values())
GROUPS_PER_DATAGRAM = (LARGEST - TAG - _HEAD) // 4


def group_sum(group: str) -> int:
    """Return a group's part of the sum over a set: sums are combined by exclusive or, in any order."""
    return int.from_bytes(blake2b(_pack(group), digest_size=8).digest())


def encode(key: bytes, envelope: Envelope, body: Body) -> bytes:
    """Encode and authenticate a datagram."""
    head = _HEADER.pack(
        MAGIC, 1, _pack(envelope.sender), _pack(envelope.receiver), envelope.boot, envelope.counter
    )
    data = head + _encode_body(body)
    return data + hmac.digest(key, data, "sha256")


def decode(key: bytes, data: bytes) -> tuple[Envelope, Body]:
    """Check and decode a datagram; WireError says what is wrong with it."""
    if not _HEADER.size + TAG < len(data) <= LARGEST or not data.startswith(MAGIC):
        raise WireError("not a membership datagram")
    end = len(data) - TAG
    if not hmac.compare_digest(hmac.digest(key, data[:end], "sha256"), data[end:]):
        raise WireError("wrong key")
    _, _, sender, receiver, boot, counter = _HEADER.unpack_from(data)
    envelope = Envelope(_text(sender), _text(receiver), boot, counter)
    try:
        return envelope, _decode_body(data[_HEADER.size : end])
    except struct.error as error:
        raise WireError(f"a datagram that ends early: {error}") from error


def full_state(version: int, total: int, groups: Sequence[str]) -> list[Full]:
    """Split all groups into datagrams, each about a range of addresses; together they cover all."""
    ordered = sorted(int(IPv4Address(group)) for group in groups)
    parts = [ordered[at : at + GROUPS_PER_DATAGRAM] for at in range(0, len(ordered), GROUPS_PER_DATAGRAM)]
    found: list[Full] = []
    low = 0
    for place, part in enumerate(parts or [[]]):
        high = part[-1] if place + 1 < len(parts) else HIGHEST
        found.append(Full(version, total, low, high, tuple(str(IPv4Address(number)) for number in part)))
        low = high + 1
    return found


def _encode_body(body: Body) -> bytes:
    kind, fields = _KINDS[type(body)]
    _, numbers, layout = _BODIES[kind]
    values = fields(body)
    lists = values[numbers:]
    head = layout.pack(kind, *values[:numbers], *map(len, lists))
    return head + b"".join([_pack(group) for groups in lists for group in groups])


def _decode_body(data: bytes) -> Body:
    kind = data[0] if data else 0
    if kind not in _BODIES:
        raise WireError(f"a datagram of unknown kind {kind}")
    body, numbers, layout = _BODIES[kind]
    _, *values = layout.unpack_from(data)
    groups = _groups(data, layout.size, sum(values[numbers:]))
    for place in range(numbers, len(values)):
        values[place], groups = groups[: values[place]], groups[values[place] :]
    return body(*values)


def _groups(data: bytes, start: int, count: int) -> tuple[str, ...]:
    if len(data) != start + 4 * count:
        raise WireError("a datagram whose length is not what it says")
    found = tuple(_text(data[at : at + 4]) for at in range(start, len(data), 4))
    for group in found:
        if not 224 <= int(group.partition(".")[0]) <= 239:
            raise WireError(f"{group} is no group")
    return found


def _pack(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


def _text(packed: bytes) -> str:
    return ".".join(map(str, packed))
