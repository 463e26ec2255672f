"""Rules that choose the IPv4 multicast routing table of a packet by the interface it came in."""

from __future__ import annotations

from dataclasses import dataclass

from quilt_netlink import constants as c
from quilt_netlink.channel import HEADER
from quilt_netlink.decode import attributes
from quilt_netlink.rules import FRA_PRIORITY, FRA_TABLE, RULE, U32, encode
from quilt_netlink.rules import RTM_NEWRULE as RTM_NEWRULE

RTM_DELRULE, RTM_GETRULE = 33, 34
_FAMILY_IPMR = 128
_FRA_IIFNAME = 3


@dataclass(frozen=True, slots=True)
class MulticastRule:
    """Packets that come in by `interface` (a name) are looked up in `table`; lower `priority` goes first."""

    interface: str
    table: int
    priority: int


def dump_request() -> bytes:
    """Encode the dump of all multicast routing rules."""
    flags = c.NLM_F_REQUEST | c.NLM_F_DUMP
    body = RULE.pack(_FAMILY_IPMR, 0, 0, 0, 0, 0, 0, 0, 0)
    return HEADER.pack(HEADER.size + len(body), RTM_GETRULE, flags, 0, 0) + body


def write(kind: int, flags: int, rule: MulticastRule) -> bytes:
    """Encode the making or removal of a rule."""
    name = rule.interface.encode() + b"\x00"
    return encode(kind, flags, _FAMILY_IPMR, (_FRA_IIFNAME, name), rule.table, rule.priority)


def read(view: memoryview, start: int, end: int) -> MulticastRule | None:
    """Decode a rule; None for one that is not about an interface."""
    family, *_ = RULE.unpack_from(view, start + HEADER.size)
    attrs = attributes(view, start + HEADER.size + RULE.size, end)
    if family != _FAMILY_IPMR or _FRA_IIFNAME not in attrs or FRA_TABLE not in attrs:
        return None
    name = attrs[_FRA_IIFNAME].rstrip(b"\x00").decode(errors="replace")
    priority = U32.unpack(attrs[FRA_PRIORITY])[0] if FRA_PRIORITY in attrs else 0
    return MulticastRule(name, U32.unpack(attrs[FRA_TABLE])[0], priority)
