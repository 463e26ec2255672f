"""Tables are read as pyroute2 decodes them, whatever the kernel mixes in."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from quilt_netlink import FdbEntry, Neighbour, NetlinkError, Nexthop, Route, schema
from quilt_netlink import decode as own
from quilt_netlink.shapes import Kind
from quilt_netlink.tables import Make, Reader
from tests.support.netlink_dumps import INTERRUPTED, MULTI, SEQ, dumped, pad
from tests.support.netlink_entries import (
    AF_BRIDGE,
    fdb_entries,
    neighbours,
    nexthops,
    routes,
)
from tests.support.netlink_reference import decode, nhmsg, rtmsg


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


KINDS: dict[Make, Kind] = {
    own.neighbour: schema.ndmsg,
    own.nexthop: schema.nhmsg,
    own.route: schema.rtmsg,
}


def read(make: Make, datagrams: list[bytes]) -> Reader:
    reader = Reader(make, KINDS[make])
    for number, datagram in enumerate(datagrams):
        assert reader.consume(memoryview(datagram), len(datagram), SEQ) is (number == len(datagrams) - 1)
    return reader


def done(flags: int = MULTI, error: int = 0) -> bytes:
    return struct.pack("=IHHIIi", 20, 3, flags, SEQ, 0, -error)


@pytest.mark.parametrize(
    ("make", "strategy"),
    [(own.neighbour, neighbours | fdb_entries), (own.nexthop, nexthops), (own.route, routes())],
    ids=["neighbours", "nexthops", "routes"],
)
@given(data=st.data())
def test_a_dump_reads_as_pyroute2_decodes_it(
    make: Make, strategy: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    one = st.tuples(strategy, st.sampled_from([0x80, 0x80, 0x2]), st.booleans())
    messages = [dumped(*item) for item in data.draw(st.lists(one, max_size=12))]
    cut = data.draw(st.integers(0, len(messages)))
    datagrams = [b"".join(map(pad, part)) for part in (messages[:cut], messages[cut:])] + [done()]
    expected = [entry for entry in map(by_pyroute2, messages) if entry is not None]
    assert read(make, datagrams).entries == expected


@pytest.mark.parametrize("place", [0, 1, 7, -1])
def test_an_interruption_is_seen_wherever_it_is_flagged(place: int) -> None:
    entries = [Neighbour(3, f"10.42.{n}.0", f"02:00:00:00:00:{n:02x}") for n in range(1, 20)]
    flags = [MULTI] * 20
    flags[place] |= INTERRUPTED
    messages = [pad(dumped(entry, 0x80, True, flag)) for entry, flag in zip(entries, flags, strict=False)]
    reader = read(own.neighbour, [b"".join(messages) + done(flags[-1])])
    assert reader.torn
    assert reader.entries == entries


def test_a_dump_that_ends_in_an_error_says_so() -> None:
    with pytest.raises(NetlinkError) as error:
        read(own.neighbour, [done(error=1)])
    assert error.value.errno == 1


def test_answers_to_older_questions_are_passed_over() -> None:
    old = bytearray(pad(dumped(Neighbour(3, "10.42.1.0", "02:00:00:00:00:01"), 0x80, True)))
    struct.pack_into("=I", old, 8, SEQ - 1)
    assert read(own.neighbour, [bytes(old) * 3 + done()]).entries == []
