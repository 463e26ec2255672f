"""Entries encoded as the kernel dumps them."""

from __future__ import annotations

from typing import Any

from pyroute2.netlink.rtnl.ndmsg import ndmsg

from quilt_netlink import FdbEntry, Neighbour, Nexthop, Route
from tests.support.netlink_entries import AF_BRIDGE, family_of, message
from tests.support.netlink_reference import nhmsg, rtmsg

SEQ = 7
MULTI, INTERRUPTED = 0x2, 0x10


CACHEINFO = {"ndm_confirmed": 1, "ndm_used": 2, "ndm_updated": 3, "ndm_refcnt": 4}


def dumped(entry: Any, state: int, extra: bool, flags: int = MULTI) -> bytes:
    """Encode an entry as the kernel dumps it, with attributes that do not matter among those that do."""
    match entry:
        case Neighbour(ifindex, address, mac):
            fields = {"family": family_of(address), "ifindex": ifindex, "state": state}
            attrs: list[Any] = [("NDA_DST", address), ("NDA_LLADDR", mac)]
            attrs += [("NDA_PROBES", 3), ("NDA_CACHEINFO", CACHEINFO)] if extra else []
            return message(ndmsg, 28, flags, SEQ, fields, attrs)
        case FdbEntry(ifindex, mac, dst):
            fields = {"family": AF_BRIDGE, "ifindex": ifindex, "state": state, "flags": 2}
            attrs = [("NDA_LLADDR", mac), ("NDA_DST", dst), ("NDA_PORT", 1234 if extra else None)]
            return message(ndmsg, 28, flags, SEQ, fields, attrs)
        case Nexthop() as nexthop:
            bits = 4 * nexthop.onlink
            fields = {
                "family": family_of(nexthop.gateway),
                "protocol": nexthop.protocol,
                "flags": bits,
                "scope": 253,
            }
            attrs = [("NHA_ID", nexthop.id), ("NHA_OIF", nexthop.ifindex), ("NHA_GATEWAY", nexthop.gateway)]
            return message(nhmsg, 104, flags, SEQ, fields, attrs[::-1] if extra else attrs)
        case Route() as route:
            return dumped_route(route, 1 if state == 0x80 else 6, extra, flags)
    raise AssertionError(entry)


def dumped_route(route: Route, kind: int, extra: bool, flags: int) -> bytes:
    address, _, length = route.prefix.partition("/")
    fields = {
        "family": family_of(address),
        "dst_len": int(length),
        "table": min(route.table, 252),
        "proto": route.protocol,
        "scope": route.scope,
        "type": kind,
        "flags": 4 * route.onlink,
    }
    default = 1024 if ":" in address else None
    attrs = [
        ("RTA_TABLE", route.table),
        ("RTA_DST", address if int(length) else None),
        ("RTA_PRIORITY", route.metric or default),
        ("RTA_PREFSRC", route.prefsrc),
        ("RTA_NH_ID", route.nhid or None),
        ("RTA_OIF", route.ifindex or (3 if extra else None)),
        ("RTA_GATEWAY", route.gateway),
    ]
    return message(rtmsg, 24, flags, SEQ, fields, attrs)


def pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
