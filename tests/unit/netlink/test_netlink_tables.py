"""Tables are read as pyroute2 decodes them, whatever the kernel mixes in."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netlink_entries import (
    AF_BRIDGE,
    family_of,
    fdb_entries,
    message,
    neighbours,
    nexthops,
    routes,
)
from netlink_reference import decode, nhmsg, rtmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from quilt_netlink import FdbEntry, Neighbour, NetlinkError, Nexthop, Route
from quilt_netlink import decode as ours
from quilt_netlink.reader import Make, Reader

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


def by_pyroute2(data: bytes) -> Any:
    """Decode a dumped message with pyroute2, to what the reader should have made of it."""
    number = struct.unpack_from("=H", data, 4)[0]
    if number == 28:
        found = decode(ndmsg, data)
        if not found["state"] & 0x80:
            return None
        dst, mac = found.get_attr("NDA_DST"), found.get_attr("NDA_LLADDR")
        if found["family"] != AF_BRIDGE:
            return Neighbour(found["ifindex"], dst, mac)
        port = found.get_attr("NDA_PORT")
        return FdbEntry(found["ifindex"], mac, address_of(data) + (f" port {port}" if port else ""))
    if number == 104:
        found = decode(nhmsg, data)
        ids = found.get_attr("NHA_ID"), found.get_attr("NHA_OIF"), found.get_attr("NHA_GATEWAY")
        return Nexthop(*ids, protocol=found["protocol"], onlink=bool(found["flags"] & 4))
    return route_by_pyroute2(decode(rtmsg, data))


def address_of(data: bytes) -> str:
    """The NDA_DST of a bridge message: its family says nothing about the address's."""
    again = bytearray(data)
    again[16] = 10 if b"\x14\x00\x01\x00" in data else 2
    return str(decode(ndmsg, bytes(again)).get_attr("NDA_DST"))


def route_by_pyroute2(found: Any) -> Route | None:
    if found["type"] != 1:
        return None
    v6 = found["family"] == 10
    nhid = found.get_attr("RTA_NH_ID") or 0
    metric = found.get_attr("RTA_PRIORITY") or 0
    return Route(
        f"{found.get_attr('RTA_DST') or ('::' if v6 else '0.0.0.0')}/{found['dst_len']}",
        found["proto"],
        nhid,
        0 if nhid else found.get_attr("RTA_OIF") or 0,
        "" if nhid else found.get_attr("RTA_GATEWAY") or "",
        bool(found["flags"] & 4) and not nhid,
        0 if v6 else found["scope"],
        found.get_attr("RTA_TABLE"),
        found.get_attr("RTA_PREFSRC") or "",
        0 if v6 and metric == 1024 else metric,
    )


TYPES: dict[Make[Any], int] = {ours.neighbour: 28, ours.nexthop: 104, ours.route: 24}


def read(make: Make[Any], datagrams: list[bytes]) -> Reader[Any]:
    reader = Reader(make, TYPES[make])
    for number, datagram in enumerate(datagrams):
        assert reader.consume(memoryview(datagram), len(datagram), SEQ) is (number == len(datagrams) - 1)
    return reader


def done(flags: int = MULTI, error: int = 0) -> bytes:
    return struct.pack("=IHHIIi", 20, 3, flags, SEQ, 0, -error)


def pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


@pytest.mark.parametrize(
    ("make", "strategy"),
    [(ours.neighbour, neighbours | fdb_entries), (ours.nexthop, nexthops), (ours.route, routes())],
    ids=["neighbours", "nexthops", "routes"],
)
@given(data=st.data())
def test_a_dump_reads_as_pyroute2_decodes_it(
    make: Make[Any], strategy: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    one = st.tuples(strategy, st.sampled_from([0x80, 0x80, 0x2]), st.booleans())
    messages = [dumped(*item) for item in data.draw(st.lists(one, max_size=12))]
    cut = data.draw(st.integers(0, len(messages)))
    datagrams = [b"".join(map(pad, part)) for part in (messages[:cut], messages[cut:])] + [done()]
    expected = [entry for entry in map(by_pyroute2, messages) if entry is not None]
    assert read(make, datagrams).entries == expected


@pytest.mark.parametrize("place", [0, 1, 7, -1])
def test_an_interruption_is_seen_wherever_it_is_told(place: int) -> None:
    entries = [Neighbour(3, f"10.42.{n}.0", f"02:00:00:00:00:{n:02x}") for n in range(1, 20)]
    flags = [MULTI] * 20
    flags[place] |= INTERRUPTED
    messages = [pad(dumped(entry, 0x80, True, flag)) for entry, flag in zip(entries, flags, strict=False)]
    reader = read(ours.neighbour, [b"".join(messages) + done(flags[-1])])
    assert reader.torn
    assert reader.entries == entries


def test_a_dump_that_ends_in_an_error_says_so() -> None:
    with pytest.raises(NetlinkError) as error:
        read(ours.neighbour, [done(error=1)])
    assert error.value.errno == 1


def test_answers_to_older_questions_are_passed_over() -> None:
    old = bytearray(pad(dumped(Neighbour(3, "10.42.1.0", "02:00:00:00:00:01"), 0x80, True)))
    struct.pack_into("=I", old, 8, SEQ - 1)
    assert read(ours.neighbour, [bytes(old) * 3 + done()]).entries == []
