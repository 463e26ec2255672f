"""Rules that choose the routing table of a packet by its source address."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from quilt_netlink import constants as c
from quilt_netlink.channel import HEADER

RTM_NEWRULE = 32
FRA_PRIORITY, FRA_TABLE = 6, 15
_FRA_SRC = 2
_TO_TABLE = 1
RULE = struct.Struct("=BBBBBBBBI")
"""struct fib_rule_hdr: family, length of destination and source, tos, table, two reserved, action, flags."""
U32 = struct.Struct("=I")
_ATTR = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class SourceRule:
    """Packets from an address (of either family) are looked up in `table`; lower `priority` goes first."""

    source: str
    table: int
    priority: int


def create(rule: SourceRule) -> bytes:
    """Encode the making of a rule; refused (EEXIST) where there is the same."""
    family = socket.AF_INET6 if ":" in rule.source else socket.AF_INET
    source = socket.inet_pton(family, rule.source)
    selector = (_FRA_SRC, source)
    flags = c.NLM_F_REQUEST | c.NLM_F_CREATE | c.NLM_F_EXCL | c.NLM_F_ACK
    return encode(RTM_NEWRULE, flags, family, selector, rule.table, rule.priority, len(source) * 8)


def encode(
    kind: int,
    flags: int,
    family: int,
    selector: tuple[int, bytes],
    table: int,
    priority: int,
    length: int = 0,
) -> bytes:
    """Encode a rule that looks up in `table` what its `selector`, an attribute, is true of.

    `length` is that of the source prefix, where the selector is one.
    """
    body = RULE.pack(family, 0, length, 0, 0, 0, 0, _TO_TABLE, 0)
    for number, value in (selector, (FRA_PRIORITY, U32.pack(priority)), (FRA_TABLE, U32.pack(table))):
        body += _ATTR.pack(_ATTR.size + len(value), number) + value + b"\x00" * (-len(value) % 4)
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body
