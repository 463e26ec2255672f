"""Questions to the kernel about its tables, with the filters it applies itself under strict checking."""

from __future__ import annotations

from socket import AF_INET, AF_INET6

from quilt_netlink import constants as c
from quilt_netlink.messages import encode
from quilt_netlink.schema import ndmsg, nhmsg, rtmsg
from quilt_netlink.shapes import Attributes
from quilt_netlink.state import SCOPE_UNIVERSE, TABLE_MAIN, Unreachable

_DUMP = c.NLM_F_REQUEST | c.NLM_F_DUMP


def neighbours(ifindex: int) -> bytes:
    """Encode the dump of both families' neighbours of a device."""
    attrs: Attributes = [("NDA_IFINDEX", ifindex)] if ifindex else []
    return encode(ndmsg, c.RTM_GETNEIGH, _DUMP, {"family": 0}, attrs)


def fdb(ifindex: int) -> bytes:
    """Encode the dump of a device's own forwarding table."""
    return encode(ndmsg, c.RTM_GETNEIGH, _DUMP, {"family": c.AF_BRIDGE, "ifindex": ifindex}, [])


def bridge_fdb(bridge: int) -> bytes:
    """Encode the dump of a bridge's forwarding table."""
    return encode(ndmsg, c.RTM_GETNEIGH, _DUMP, {"family": c.AF_BRIDGE}, [("NDA_MASTER", bridge)])


def nexthops(ifindex: int) -> bytes:
    """Encode the dump of nexthop objects, of one device or of all (0); the kernel has no protocol filter."""
    attrs: Attributes = [("NHA_OIF", ifindex)] if ifindex else []
    return encode(nhmsg, c.RTM_GETNEXTHOP, _DUMP, {"family": 0}, attrs)


def routes(v6: bool, protocol: int, table: int, ifindex: int) -> bytes:
    """Encode the dump of one family's unicast routes in a table."""
    fields = {"family": AF_INET6 if v6 else AF_INET, "proto": protocol, "type": c.RTN_UNICAST}
    attrs: Attributes = [("RTA_TABLE", table)]
    if ifindex:
        attrs.append(("RTA_OIF", ifindex))
    return encode(rtmsg, c.RTM_GETROUTE, _DUMP, fields, attrs)


def unreachables(v6: bool, protocol: int) -> bytes:
    """Encode the dump of one family's unreachable prefixes in the main table."""
    fields = {"family": AF_INET6 if v6 else AF_INET, "proto": protocol, "type": c.RTN_UNREACHABLE}
    return encode(rtmsg, c.RTM_GETROUTE, _DUMP, fields, [("RTA_TABLE", TABLE_MAIN)])


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
