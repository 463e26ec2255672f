"""How the kernel's tables are read, with the filters it applies itself under strict checking."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from socket import AF_INET, AF_INET6
from typing import Any

from quilt_netlink import constants as c
from quilt_netlink import decode
from quilt_netlink.messages import Message, encode
from quilt_netlink.schema import ifaddrmsg, ifinfmsg, ndmsg, nhmsg, rtmsg
from quilt_netlink.shapes import Attributes, Shape
from quilt_netlink.state import (
    SCOPE_UNIVERSE,
    Address,
    BridgeFdbEntry,
    FdbEntry,
    Link,
    Neighbour,
    Nexthop,
    Route,
    Unreachable,
)

_DUMP = c.NLM_F_REQUEST | c.NLM_F_DUMP
_FAMILIES = (AF_INET, AF_INET6)


@dataclass(frozen=True, slots=True)
class Narrow:
    """What of a table is asked for: of one device, protocol number and routing table where not 0."""

    ifindex: int = 0
    protocol: int = 0
    table: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """How entries of one kind are read: what they are called, the dumps, what makes them of messages.

    A device or table that is not there (`absent`) has none.
    """

    what: str
    requests: Callable[[Narrow], list[bytes]]
    make: Callable[[Message], Any]
    absent: tuple[int, ...] = (errno.ENODEV,)


def _links(narrow: Narrow) -> list[bytes]:
    return [_dump(ifinfmsg, c.RTM_GETLINK, {}, ("IFLA_EXT_MASK", c.RTEXT_FILTER_SKIP_STATS))]


def _addresses(narrow: Narrow) -> list[bytes]:
    return [_dump(ifaddrmsg, c.RTM_GETADDR, {"index": narrow.ifindex})]


def _neighbours(narrow: Narrow) -> list[bytes]:
    return [_dump(ndmsg, c.RTM_GETNEIGH, {}, ("NDA_IFINDEX", narrow.ifindex))]


def _fdb(narrow: Narrow) -> list[bytes]:
    return [_dump(ndmsg, c.RTM_GETNEIGH, {"family": c.AF_BRIDGE, "ifindex": narrow.ifindex})]


def _bridge_fdb(narrow: Narrow) -> list[bytes]:
    return [_dump(ndmsg, c.RTM_GETNEIGH, {"family": c.AF_BRIDGE}, ("NDA_MASTER", narrow.ifindex))]


def _nexthops(narrow: Narrow) -> list[bytes]:
    """The kernel has no protocol filter."""
    return [_dump(nhmsg, c.RTM_GETNEXTHOP, {}, ("NHA_OIF", narrow.ifindex))]


def _routes(narrow: Narrow, kind: int = c.RTN_UNICAST) -> list[bytes]:
    fields = {"proto": narrow.protocol, "type": kind}
    attrs = ("RTA_TABLE", narrow.table), ("RTA_OIF", narrow.ifindex)
    return [_dump(rtmsg, c.RTM_GETROUTE, {**fields, "family": family}, *attrs) for family in _FAMILIES]


def _unreachables(narrow: Narrow) -> list[bytes]:
    return _routes(narrow, c.RTN_UNREACHABLE)


def _dump(shape: Shape, kind: int, fields: dict[str, int], *attrs: tuple[str, int]) -> bytes:
    return encode(shape, kind, _DUMP, fields, [(name, value) for name, value in attrs if value])


TABLES: dict[type[Any], Table] = {
    Link: Table("links", _links, decode.link),
    Address: Table("addresses", _addresses, decode.address),
    Neighbour: Table("neighbours", _neighbours, decode.neighbour),
    FdbEntry: Table("the FDB", _fdb, decode.neighbour),
    BridgeFdbEntry: Table("the bridge FDB", _bridge_fdb, decode.neighbour),
    Nexthop: Table("nexthops", _nexthops, decode.nexthop),
    Route: Table("routes", _routes, decode.route, (errno.ENODEV, errno.ENOENT)),
    Unreachable: Table("routes", _unreachables, decode.unreachable),
}


def unreachable_write(entry: Unreachable, kind: int, flags: int) -> bytes:
    """Encode making or removing an unreachable prefix."""
    address, _, length = entry.prefix.partition("/")
    fields = {
        "family": AF_INET6 if ":" in address else AF_INET,
        "dst_len": int(length),
        "table": entry.table if entry.table < 256 else c.RT_TABLE_COMPAT,
        "proto": entry.protocol,
        "scope": c.RT_SCOPE_NOWHERE if kind == c.RTM_DELROUTE else SCOPE_UNIVERSE,
        "type": c.RTN_UNREACHABLE,
    }
    attrs: Attributes = [("RTA_DST", address), ("RTA_TABLE", entry.table)]
    attrs += [("RTA_PRIORITY", entry.metric)] if entry.metric else []
    return encode(rtmsg, kind, flags, fields, attrs)


def route_get(dst: str, *, fib_match: bool) -> bytes:
    """Encode the question how the kernel would send to an address."""
    v6 = ":" in dst
    fields = {
        "family": AF_INET6 if v6 else AF_INET,
        "dst_len": 128 if v6 else 32,
        "flags": c.RTM_F_FIB_MATCH if fib_match else 0,
    }
    return encode(rtmsg, c.RTM_GETROUTE, c.NLM_F_REQUEST, fields, [("RTA_DST", dst)])
