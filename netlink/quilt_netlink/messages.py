"""Whole messages to bytes and back, by the tables of `schema`."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import repeat
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

from quilt_netlink import schema
from quilt_netlink.shapes import Attributes, Shape, pack_ip

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""
Message = Mapping[str, Any]
"""Fixed fields and attributes by name, what is absent or malformed left out."""
_KIND = struct.Struct("=4xH")


def encode(
    shape: Shape, message_type: int, flags: int, fields: Mapping[str, Any], attrs: Attributes, seq: int = 0
) -> bytes:
    """Encode one message; raises KeyError, struct.error, OSError, ValueError for what cannot be."""
    body = shape.pack({**fields, "attrs": attrs})
    return HEADER.pack(HEADER.size + len(body), message_type, flags, seq, 0) + body


def decode(view: memoryview, start: int = 0, end: int | None = None) -> Message | None:
    """Decode one message by its type; None for one of a type that we do not read, or that is too short."""
    end = len(view) if end is None else end
    shape = schema.READ.get(kind_of(view, start))
    if shape is None or end - start < HEADER.size + shape.fixed.size:
        return None
    return shape.read(view, start + HEADER.size, end)


def answer_to(request: bytes) -> int:
    """Return the message type that a question is answered with.

    Types come in fours: new, del, get, set; so do nftables' messages about the elements of sets.
    """
    return kind_of(request) & ~3


def kind_of(message: bytes | memoryview, start: int = 0) -> int:
    """Return a message's type."""
    return int(_KIND.unpack_from(message, start)[0])


def number4(text: str) -> int:
    """Return a canonically spelled IPv4 address as a number, -1 for anything else.

    The ipaddress module would take several times as long, and thousands come at once.
    """
    try:
        packed = pack_ip(text)
    except (OSError, ValueError):  # ValueError: a zero character within
        return -1
    return int.from_bytes(packed) if len(packed) == 4 else -1


def pack_ips(texts: Sequence[str]) -> list[bytes]:
    """Pack addresses that are all of the first one's family; raises OSError when one is not."""
    return list(map(inet_pton, repeat(AF_INET6 if ":" in texts[0] else AF_INET), texts))
