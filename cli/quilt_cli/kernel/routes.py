"""Routes, rules, next hops, neighbors, FDB and MDB, by the names that `ip -j` and `bridge -j` give them.

Protocols and tables are numbers: names of them differ between hosts.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from pyroute2.netlink.rtnl import ndmsg, rt_scope, rt_type

from quilt_cli.kernel.plain import Names, Plain, attributes, family, flags, present

_ROUTE_FLAGS = {
    1: "dead",
    2: "pervasive",
    4: "onlink",
    8: "offload",
    16: "linkdown",
    32: "unresolved",
    0x200: "cache",  # RTM_F_CLONED: what the kernel learned of one destination, as a path's MTU
}
_NEIGHBOR_FLAGS = {bit: name for name, bit in ndmsg.flags.items()}
_NEIGHBOR_STATES = {bit: name.upper() for name, bit in ndmsg.states.items()}
_FDB_STATES = {0x80: "permanent", 0x40: "static", 0x04: "stale"}
_ACTIONS = {1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
# `struct br_mdb_entry` (include/uapi/linux/if_bridge.h): port, state, flags, VLAN, address, its protocol.
_GROUP = struct.Struct("=IBBH16s2s")
_ADDRESS_SIZES = {b"\x08\x00": 4, b"\x86\xdd": 16}


def route(message: Any, names: Names) -> Plain:
    """A route; of one with several ways each is in `nexthops`, `nhid` is the id of a nexthop object."""
    several = message.get("multipath")
    return present(
        family=family(message),
        type=rt_type.get(message["type"], message["type"]),
        dst=_prefix(message, "dst") or "default",
        src=_prefix(message, "src"),
        table=message.get("table"),
        protocol=message["proto"],
        scope=rt_scope.get(message["scope"], message["scope"]),
        metric=message.get("priority"),
        nhid=message.get("nh_id"),
        prefsrc=message.get("prefsrc"),
        metrics=attributes(message.get("metrics"), "RTAX_") or None,
        nexthops=[{**_way(one, names), "weight": one["hops"] + 1} for one in several] if several else None,
        **_way(message, names),
    )


def _way(message: Any, names: Names) -> Plain:
    """Where to: of a route, of one of several ways, of a nexthop object."""
    via, out = message.get("via"), message.get("oif")
    return present(
        gateway=via["addr"] if via else message.get("gateway"),
        dev=names.get(out, out),
        flags=flags(message["flags"], _ROUTE_FLAGS),
    )


def _prefix(message: Any, side: str) -> str | None:
    found = message.get(side)
    return f"{found}/{message[f'{side}_len']}" if found else None


def rule(message: Any, _: Names) -> Plain:
    """A rule that says which table is looked at."""
    return present(
        family=family(message),
        priority=message.get("priority") or 0,
        src=_prefix(message, "src"),
        dst=_prefix(message, "dst"),
        iif=message.get("iifname"),
        oif=message.get("oifname"),
        fwmark=message.get("fwmark"),
        fwmask=message.get("fwmask"),
        ipproto=message.get("ip_proto"),
        action=_ACTIONS.get(message["action"], message["action"]),
        table=message.get("table"),
        protocol=message.get("protocol"),
    )


def nexthop(message: Any, names: Names) -> Plain:
    """A nexthop object; `group` lists others, by id and weight."""
    return present(
        id=message.get("id"),
        group=list(_group(message.get("group") or b"")) or None,
        blackhole=message.get("blackhole"),
        fdb=message.get("fdb"),
        scope=rt_scope.get(message["scope"], message["scope"]),
        protocol=message["protocol"],
        **_way(message, names),
    )


def _group(array: bytes) -> Iterator[Plain]:
    """`struct nexthop_grp` (include/uapi/linux/nexthop.h): the id, the weight less one, three bytes more."""
    for at in range(0, len(array), 8):
        yield {"id": int.from_bytes(array[at : at + 4], sys.byteorder), "weight": array[at + 4] + 1}


def neighbor(message: Any, names: Names) -> Plain:
    """Which address of the link layer a neighbor has."""
    return present(
        family=family(message),
        dst=message.get("dst"),
        dev=names.get(message["ifindex"], message["ifindex"]),
        lladdr=message.get("lladdr"),
        state=flags(message["state"], _NEIGHBOR_STATES),
        flags=flags(message["flags"], _NEIGHBOR_FLAGS),
        protocol=message.get("protocol"),
    )


def fdb_entry(message: Any, names: Names) -> Plain:
    """Where a MAC is: behind a port of a bridge, or behind another VTEP."""
    return present(
        mac=message.get("lladdr"),
        ifname=names.get(message["ifindex"], message["ifindex"]),
        dst=message.get("dst"),
        port=message.get("port"),
        vni=message.get("vni"),
        nhid=message.get("nh_id"),
        vlan=message.get("vlan"),
        master=names.get(message.get("master")),
        state=next(iter(flags(message["state"], _FDB_STATES)), ""),
        flags=flags(message["flags"], _NEIGHBOR_FLAGS),
    )


def groups(message: Any, names: Names) -> Iterator[Plain]:
    """The multicast groups of a bridge, one after the other."""
    bridge = message["ifindex"]
    for entry in (message.get("mdb") or {"attrs": ()})["attrs"]:
        for info in entry[1].get_attrs("MDBA_MDB_ENTRY_INFO"):
            port, state, _, vlan, address, protocol = _GROUP.unpack_from(info)
            size = _ADDRESS_SIZES.get(protocol)
            yield present(
                dev=names.get(bridge, bridge),
                port=names.get(port, port),
                grp=str(ip_address(address[:size])) if size else address[:6].hex(":"),
                vid=vlan or None,
                state="permanent" if state else "temp",
            )
