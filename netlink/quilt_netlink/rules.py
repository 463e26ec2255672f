"""Rules that choose the routing table of a packet by its source address."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from quilt_netlink import constants as c
from quilt_netlink.channel import HEADER

RTM_NEWRULE = 32
_FRA_SRC, _FRA_PRIORITY, _FRA_TABLE = 2, 6, 15
_TO_TABLE = 1
# struct fib_rule_hdr: family, length of destination and source, tos, table, two reserved, action, flags.
_RULE = struct.Struct("=BBBBBBBBI")
_ATTR = struct.Struct("=HH")
_U32 = struct.Struct("=I")


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
    body = _RULE.pack(family, 0, len(source) * 8, 0, 0, 0, 0, _TO_TABLE, 0)
    for number, value in (
        (_FRA_SRC, source),
        (_FRA_PRIORITY, _U32.pack(rule.priority)),
        (_FRA_TABLE, _U32.pack(rule.table)),
    ):
        body += _ATTR.pack(_ATTR.size + len(value), number) + value
    flags = c.NLM_F_REQUEST | c.NLM_F_CREATE | c.NLM_F_EXCL | c.NLM_F_ACK
    return HEADER.pack(HEADER.size + len(body), RTM_NEWRULE, flags, 0, 0) + body
