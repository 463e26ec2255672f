"""Rules that choose the IPv4 multicast routing table of a packet by the interface it came in."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from quilt_netlink import constants as c
from quilt_netlink.channel import HEADER
from quilt_netlink.decode import attributes
from quilt_netlink.rules import RTM_NEWRULE as RTM_NEWRULE

RTM_DELRULE, RTM_GETRULE = 33, 34
_FAMILY_IPMR = 128
_TO_TABLE = 1
_FRA_IIFNAME, _FRA_PRIORITY, _FRA_TABLE = 3, 6, 15
# struct fib_rule_hdr: family, two lengths, tos, table, two reserved, action, flags.
_RULE = struct.Struct("=BBBBBBBBI")
_ATTR = struct.Struct("=HH")
_U32 = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class MulticastRule:
    """Packets that come in by `interface` (a name) are looked up in `table`; lower `priority` goes first."""

    interface: str
    table: int
    priority: int


def dump_request() -> bytes:
    """Encode the dump of all multicast routing rules."""
    flags = c.NLM_F_REQUEST | c.NLM_F_DUMP
    body = _RULE.pack(_FAMILY_IPMR, 0, 0, 0, 0, 0, 0, 0, 0)
    return HEADER.pack(HEADER.size + len(body), RTM_GETRULE, flags, 0, 0) + body


def write(kind: int, flags: int, rule: MulticastRule) -> bytes:
    """Encode the making or removal of a rule."""
    name = rule.interface.encode() + b"\x00"
    body = _RULE.pack(_FAMILY_IPMR, 0, 0, 0, 0, 0, 0, _TO_TABLE, 0)
    for number, value in (
        (_FRA_IIFNAME, name),
        (_FRA_PRIORITY, _U32.pack(rule.priority)),
        (_FRA_TABLE, _U32.pack(rule.table)),
    ):
        body += _ATTR.pack(_ATTR.size + len(value), number) + value + b"\x00" * (-len(value) % 4)
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body


def read(view: memoryview, start: int, end: int) -> MulticastRule | None:
    """Decode a rule; None for one that is not about an interface."""
    family, *_ = _RULE.unpack_from(view, start + HEADER.size)
    attrs = attributes(view, start + HEADER.size + _RULE.size, end)
    if family != _FAMILY_IPMR or _FRA_IIFNAME not in attrs or _FRA_TABLE not in attrs:
        return None
    name = attrs[_FRA_IIFNAME].rstrip(b"\x00").decode(errors="replace")
    priority = _U32.unpack(attrs[_FRA_PRIORITY])[0] if _FRA_PRIORITY in attrs else 0
    return MulticastRule(name, _U32.unpack(attrs[_FRA_TABLE])[0], priority)
