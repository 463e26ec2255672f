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
from quilt_netlink.shapes import Shape
from quilt_netlink.state import (
    Address,
    BridgeFdbEntry,
    FdbEntry,
    Link,
    Neighbour,
    Nexthop,
    Route,
    Unreachable,
)

_NO_STATISTICS = ("IFLA_EXT_MASK", c.RTEXT_FILTER_SKIP_STATS)
_FDB = {"family": c.AF_BRIDGE}
_DUMP = c.NLM_F_REQUEST | c.NLM_F_DUMP


@dataclass(frozen=True, slots=True)
class Narrow:
    """What of a table is asked for: of one device, protocol number and routing table where not 0.

    Routes of the protocols in `but` are passed over, which costs a tenth of reading them.
    """

    ifindex: int = 0
    protocol: int = 0
    table: int = 0
    but: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Table:
    """How entries of one kind are read: what they are called, the dumps, what makes them of messages.

    A device or table that is not there (`absent`) has none.
    """

    what: str
    requests: Callable[[Narrow], list[bytes]]
    make: Callable[[Message], Any]
    absent: tuple[int, ...] = (errno.ENODEV,)


def _routes(narrow: Narrow, kind: int = c.RTN_UNICAST) -> list[bytes]:
    fields = {"proto": narrow.protocol, "type": kind}
    attrs = ("RTA_TABLE", narrow.table), ("RTA_OIF", narrow.ifindex)
    return [
        request
        for family in (AF_INET, AF_INET6)
        for request in _dump(rtmsg, c.RTM_GETROUTE, {**fields, "family": family}, *attrs)
    ]


def _dump(shape: Shape, kind: int, fields: dict[str, int], *attrs: tuple[str, int]) -> list[bytes]:
    return [encode(shape, kind, _DUMP, fields, [(name, value) for name, value in attrs if value])]


TABLES: dict[type[Any], Table] = {
    Link: Table("links", lambda _: _dump(ifinfmsg, c.RTM_GETLINK, {}, _NO_STATISTICS), decode.link),
    Address: Table(
        "addresses", lambda at: _dump(ifaddrmsg, c.RTM_GETADDR, {"index": at.ifindex}), decode.address
    ),
    Neighbour: Table(
        "neighbours",
        lambda at: _dump(ndmsg, c.RTM_GETNEIGH, {}, ("NDA_IFINDEX", at.ifindex)),
        decode.neighbour,
    ),
    FdbEntry: Table(
        "the FDB", lambda at: _dump(ndmsg, c.RTM_GETNEIGH, {**_FDB, "ifindex": at.ifindex}), decode.neighbour
    ),
    BridgeFdbEntry: Table(
        "the bridge FDB",
        lambda at: _dump(ndmsg, c.RTM_GETNEIGH, _FDB, ("NDA_MASTER", at.ifindex)),
        decode.neighbour,
    ),
    Nexthop: Table(  # the kernel has no protocol filter
        "nexthops", lambda at: _dump(nhmsg, c.RTM_GETNEXTHOP, {}, ("NHA_OIF", at.ifindex)), decode.nexthop
    ),
    Route: Table("routes", _routes, decode.route, (errno.ENODEV, errno.ENOENT)),
    Unreachable: Table("routes", lambda at: _routes(at, c.RTN_UNREACHABLE), decode.unreachable),
}
