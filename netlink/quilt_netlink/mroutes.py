"""Reading the IPv4 multicast routing tables, whoever wrote them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from socket import AF_INET, inet_ntop

from quilt_netlink import constants as c
from quilt_netlink.channel import HEADER
from quilt_netlink.decode import attributes

_FAMILY_IPMR = 128
# struct rtmsg: family, two lengths, tos, table, protocol, scope, type, flags.
_ROUTE = struct.Struct("=BBBBBBBBI")
_HOP = struct.Struct("=HBBi")
_U32 = struct.Struct("=I")
_UNRESOLVED = 0x20
_RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_MULTIPATH, _RTA_TABLE = 1, 2, 3, 9, 15


@dataclass(frozen=True, slots=True)
class MulticastRoute:
    """Packets from `source` to `group` that come in by `iif` leave by `oifs`: indexes, 0 for one gone."""

    table: int
    source: str
    group: str
    iif: int
    oifs: frozenset[int] = frozenset()


def dump_request() -> bytes:
    """Encode the dump of all tables."""
    flags = c.NLM_F_REQUEST | c.NLM_F_DUMP
    body = _ROUTE.pack(_FAMILY_IPMR, 0, 0, 0, 0, 0, 0, 0, 0)
    return HEADER.pack(HEADER.size + len(body), c.RTM_GETROUTE, flags, 0, 0) + body


def read(view: memoryview, start: int, end: int) -> MulticastRoute | None:
    """Decode an entry; None for one that the kernel still asks about."""
    *_, flags = _ROUTE.unpack_from(view, start + HEADER.size)
    attrs = attributes(view, start + HEADER.size + _ROUTE.size, end)
    if flags & _UNRESOLVED or not attrs.keys() >= {_RTA_SRC, _RTA_DST, _RTA_TABLE}:
        return None
    hops = bytes(attrs.get(_RTA_MULTIPATH, b""))
    oifs = set()
    at = 0
    while at + _HOP.size <= len(hops):
        length, _, _, index = _HOP.unpack_from(hops, at)
        oifs.add(index)
        at += max(length, _HOP.size)
    table, iif = (_U32.unpack(attrs.get(number, bytes(4)))[0] for number in (_RTA_TABLE, _RTA_IIF))
    source, group = (inet_ntop(AF_INET, attrs[number]) for number in (_RTA_SRC, _RTA_DST))
    return MulticastRoute(table, source, group, iif, frozenset(oifs))
