"""Hypothesis strategies for entries, and what pyroute2 makes of them, written without the code under test."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from socket import AF_INET, AF_INET6
from typing import Any

from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from quilt_netlink import Create, Delete, FdbEntry, Neighbour, Nexthop, Op, Put, Route
from tests.support.netlink_reference import nhmsg, rtmsg

AF_BRIDGE = 7
WORD = 0xFFFFFFFF

ifindexes = st.integers(1, 0x7FFFFFFF)
seqs = st.integers(0, WORD)
bytes8 = st.integers(0, 255)
v4s = st.integers(0, WORD).map(lambda n: str(IPv4Address(n)))
v6s = st.integers(1 << 100, (1 << 128) - 1).map(lambda n: str(IPv6Address(n)))
ips = v4s | v6s
macs = st.binary(min_size=6, max_size=6).map(lambda b: b.hex(":"))


@st.composite
def prefixes(draw: st.DrawFn) -> str:
    address = draw(ips)
    length = draw(st.integers(0, 128 if ":" in address else 32))
    return str(ip_network(f"{address}/{length}", strict=False))


neighbours = st.builds(Neighbour, ifindexes, ips, macs)
fdb_entries = st.builds(FdbEntry, ifindexes, macs, ips)
nexthops = st.builds(Nexthop, st.integers(1, WORD), ifindexes, ips, protocol=bytes8, onlink=st.booleans())


@st.composite
def routes(draw: st.DrawFn, *, via_objects: bool | None = None) -> Route:
    prefix = draw(prefixes())
    family = v6s if ":" in prefix else v4s
    objects = draw(st.booleans()) if via_objects is None else via_objects
    return Route(
        prefix,
        draw(bytes8),
        nhid=draw(st.integers(1, WORD)) if objects else 0,
        ifindex=0 if objects else draw(ifindexes),
        gateway="" if objects else draw(st.just("") | family),
        onlink=False if objects else draw(st.booleans()),
        scope=0 if ":" in prefix else draw(st.sampled_from([0, 253])),
        table=draw(st.integers(1, WORD)),
        prefsrc=draw(st.just("") | family),
        metric=draw(st.integers(0, WORD).filter(lambda n: n != 1024)),
    )


entries = neighbours | fdb_entries | nexthops | routes()
verbs = st.sampled_from([Create, Put, Delete])


def family_of(address: str) -> int:
    return AF_INET6 if ":" in address else AF_INET


def message(kind: Any, number: int, flags: int, seq: int, fields: dict[str, int], attrs: list[Any]) -> bytes:
    made = kind()
    for name, value in fields.items():
        made[name] = value
    made["attrs"] = [(name, value) for name, value in attrs if value not in ("", None)]
    made["header"] = {"type": number, "flags": flags, "sequence_number": seq, "pid": 0}
    made.encode()
    return bytes(made.data)


def reference(op: Op, seq: int) -> bytes:
    """Encode an operation with pyroute2."""
    flags = {Create: 0x601, Put: 0x501, Delete: 0x1}[type(op)]
    gone = isinstance(op, Delete)
    match op.entry:
        case Neighbour(ifindex, address, mac):
            fields = {"family": family_of(address), "ifindex": ifindex, "state": 0x80}
            attrs = [("NDA_DST", address), ("NDA_LLADDR", "" if gone else mac)]
            return message(ndmsg, 28 + gone, flags, seq, fields, attrs)
        case FdbEntry(ifindex, mac, dst):
            fields = {"family": AF_BRIDGE, "ifindex": ifindex, "state": 0x80, "flags": 0x2}
            return message(ndmsg, 28 + gone, flags, seq, fields, [("NDA_LLADDR", mac), ("NDA_DST", dst)])
        case Nexthop() as nexthop:
            return _nexthop(nexthop, gone, flags, seq)
        case Route() as route:
            return _route(route, gone, flags, seq)
    raise AssertionError(op)


def _nexthop(entry: Nexthop, gone: bool, flags: int, seq: int) -> bytes:
    if gone:
        return message(nhmsg, 105, flags, seq, {"family": 0}, [("NHA_ID", entry.id)])
    fields = {"family": family_of(entry.gateway), "protocol": entry.protocol, "flags": 4 * entry.onlink}
    attrs = [("NHA_ID", entry.id), ("NHA_OIF", entry.ifindex), ("NHA_GATEWAY", entry.gateway)]
    return message(nhmsg, 104, flags, seq, fields, attrs)


def _route(entry: Route, gone: bool, flags: int, seq: int) -> bytes:
    address, _, length = entry.prefix.partition("/")
    fields = {
        "family": family_of(address),
        "dst_len": int(length),
        "table": entry.table if entry.table < 256 else 252,
        "proto": entry.protocol,
        "scope": 255 if gone else entry.scope,
        "type": 1,
        "flags": 4 * entry.onlink,
    }
    attrs = [
        ("RTA_DST", address),
        ("RTA_TABLE", entry.table),
        ("RTA_NH_ID", (not gone and entry.nhid) or None),
        ("RTA_OIF", entry.ifindex or None),
        ("RTA_PRIORITY", entry.metric or None),
        ("RTA_GATEWAY", entry.gateway),
        ("RTA_PREFSRC", entry.prefsrc),
    ]
    return message(rtmsg, 24 + gone, flags, seq, fields, attrs)
