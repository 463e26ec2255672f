"""PIM messages byte by byte, and entries that joins and prunes make."""

from __future__ import annotations

import contextlib
import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_pim.core.pim import (
    HOLDTIME_FOREVER,
    Entry,
    Hello,
    JoinPrune,
    Other,
    PimError,
    build_hello,
    checksum,
    parse,
)
from quilt_pim.core.routes import Key, RouteTable
from quilt_pim.core.rpf import RpfInfo
from quilt_pim.speakers import split
from tests.support.pim_speaker import build_join_prune

unicast = st.integers(0x01000000, 0xDFFFFFFF).map(lambda n: str(IPv4Address(n)))
groups = st.integers(0xE0000000, 0xEFFFFFFF).map(lambda n: str(IPv4Address(n)))
u32 = st.integers(0, 2**32 - 1)
u16 = st.integers(0, 2**16 - 1)
entries = st.builds(Entry, groups, unicast, st.booleans(), st.booleans())


def by_group(found: tuple[Entry, ...], order: tuple[Entry, ...]) -> list[Entry]:
    """Entries as they come over the wire: group by group, in order of first appearance."""
    groups = list(dict.fromkeys(entry.group for entry in order))
    return sorted(found, key=lambda entry: groups.index(entry.group))


class TestMessages:
    def test_a_hello_as_other_routers_send_it(self) -> None:
        # Version 2 type 0; holdtime 105, LAN prune delay (skipped), DR priority 1, generation id.
        body = bytes.fromhex("0001000200690002000401f409c40013000400000001001400041122aabb")
        head = struct.pack("!BBH", 0x20, 0, 0)
        packet = struct.pack("!BBH", 0x20, 0, checksum(head + body)) + body
        assert parse(packet) == Hello(105, 1, 0x1122AABB)

    def test_a_join_prune_byte_by_byte(self) -> None:
        message = JoinPrune(
            "10.0.0.1",
            joins=(Entry("239.1.1.1", "10.1.0.5"), Entry("239.1.1.1", "10.0.0.9", wildcard=True, rpt=True)),
            prunes=(Entry("239.1.1.1", "10.1.0.6"),),
            holdtime=210,
        )
        wire = build_join_prune(message)
        assert wire[:2] == b"\x23\x00"
        assert wire[4:].hex() == (
            "01000a000001000100d201000020ef01010100020001010004200a010005010007200a000009010004200a010006"
        )
        assert parse(wire) == message

    @given(u16, st.none() | u32, st.none() | u32)
    def test_hellos_there_and_back(self, holdtime: int, priority: int | None, generation: int | None) -> None:
        hello = Hello(holdtime, priority, generation)
        assert parse(build_hello(hello)) == hello

    @given(unicast, st.lists(entries, max_size=20), st.lists(entries, max_size=20), u16)
    def test_join_prunes_there_and_back(
        self, upstream: str, joins: list[Entry], prunes: list[Entry], holdtime: int
    ) -> None:
        message = JoinPrune(upstream, tuple(joins), tuple(prunes), holdtime)
        found = parse(build_join_prune(message))
        assert isinstance(found, JoinPrune)
        everything = (*message.joins, *message.prunes)
        assert (found.upstream, found.holdtime) == (upstream, holdtime)
        assert list(found.joins) == by_group(message.joins, everything)
        assert list(found.prunes) == by_group(message.prunes, everything)

    @given(st.binary(max_size=120))
    def test_no_bytes_fail_in_another_way(self, data: bytes) -> None:
        with contextlib.suppress(PimError):
            parse(data)
        split(data)

    @given(st.sampled_from([0x20, 0x23]), st.binary(max_size=120))
    def test_no_bytes_under_a_right_header_do(self, first: int, body: bytes) -> None:
        head = bytes((first, 0))
        with contextlib.suppress(PimError):
            parse(head + struct.pack("!H", checksum(head + b"\0\0" + body)) + body)

    @given(st.integers(0, 7), st.data())
    def test_one_wrong_bit_is_noticed(self, bit: int, data: st.DataObject) -> None:
        wire = bytearray(build_join_prune(JoinPrune("10.0.0.1", (Entry("239.1.1.1", "10.1.0.5"),))))
        at = data.draw(st.integers(2, len(wire) - 1))
        wire[at] ^= 1 << bit
        with pytest.raises(PimError, match="checksum"):
            parse(bytes(wire))

    @pytest.mark.parametrize(
        ("data", "error"),
        [
            (b"", "shorter than the header"),
            (b"\x10\x00\x00\x00", "version 1 is not 2"),
            (b"\x20\x00\x00\x00", "checksum is wrong"),
        ],
    )
    def test_bad_headers(self, data: bytes, error: str) -> None:
        with pytest.raises(PimError, match=error):
            parse(data)

    @pytest.mark.parametrize(
        ("body", "error"),
        [
            ("0001000200", "ends 1 bytes too soon"),
            ("00010004000000ff", "option 1 of 4 bytes should have 2"),
            ("001300020001", "option 19 of 2 bytes should have 4"),
        ],
    )
    def test_bad_hellos(self, body: str, error: str) -> None:
        with pytest.raises(PimError, match=error):
            parse(_checked(0x20, body))

    @pytest.mark.parametrize(
        ("body", "error"),
        [
            ("02000a000001000000d2", "address family 2"),
            ("01010a000001000000d2", "in encoding 1"),
            ("01000a000001000100d201000018ef01010000000000", "mask of 24"),
            ("01000a000001000100d2010000200a00000100000000", "not a multicast group"),
            ("01000a000001000100d201000020ef0101010001000001000420ef010101", "not a unicast source"),
            ("01000a000001000100d201000020ef010101ffff0000", "too soon"),
            ("01000a000001000000d200", "1 bytes follow the last group"),
        ],
    )
    def test_bad_join_prunes(self, body: str, error: str) -> None:
        with pytest.raises(PimError, match=error):
            parse(_checked(0x23, body))

    def test_other_types_are_recognized_and_not_judged(self) -> None:
        assert parse(b"\x21\x00\x00\x00") == Other(1)


def _checked(first: int, body: str) -> bytes:
    head, data = bytes((first, 0)), bytes.fromhex(body)
    return head + struct.pack("!H", checksum(head + b"\0\0" + data)) + data


def test_packets_come_with_their_ip_header() -> None:
    header = bytes.fromhex("45c00000000000000167000000000000") + b""
    header = header[:12] + bytes([10, 0, 0, 2]) + bytes([224, 0, 0, 13])
    assert split(header + b"\x20") == ("10.0.0.2", "224.0.0.13", b"\x20")
    with_options = b"\x46" + header[1:] + b"\x94\x04\x00\x00" + b"\x20"
    assert split(with_options) == ("10.0.0.2", "224.0.0.13", b"\x20")
    assert split(header[:19]) is None
    assert split(b"\x65" + header[1:]) is None


ETH9 = RpfInfo("eth9")
SG = Entry("239.1.1.1", "10.1.0.5")
STAR = Entry("239.1.1.1", "10.0.0.9", wildcard=True, rpt=True)


class TestRoutes:
    def test_an_entry_exists_while_one_interface_wants_it(self) -> None:
        table = RouteTable()
        assert [e.action for e in table.join(SG, "eth0", ETH9, 210, 0.0)] == ["Add"]
        assert table.join(SG, "eth0", ETH9, 210, 60.0) == []
        assert [e.action for e in table.join(SG, "eth1", ETH9, 100, 60.0)] == ["Update"]
        [held] = table
        assert (held.interfaces, held.upstream) == (("eth0", "eth1"), ETH9)
        assert table.next_expiry() == 160.0
        assert [e.action for e in table.expire(160.0)] == ["Update"]
        [gone] = table.expire(270.0)
        assert (gone.action, gone.route_type, gone.source) == ("Remove", "SG", "10.1.0.5")
        assert len(table) == 0

    def test_shared_trees_are_entries_of_their_own(self) -> None:
        table = RouteTable()
        [event] = table.join(STAR, "eth0", ETH9, HOLDTIME_FOREVER, 0.0)
        assert (event.route_type, event.source) == ("StarG", None)
        assert table.expire(1e12) == []
        assert [e.action for e in table.prune(STAR, "eth0", 0.0, 1.0)] == ["Remove"]

    def test_a_prune_may_be_overridden_while_others_are_on_the_link(self) -> None:
        table = RouteTable()
        table.join(SG, "eth0", ETH9, 210, 0.0)
        assert table.prune(SG, "eth0", 3.0, 10.0) == []
        table.join(SG, "eth0", ETH9, 210, 11.0)
        assert table.expire(13.0) == []
        table.prune(SG, "eth0", 3.0, 20.0)
        assert [e.action for e in table.expire(23.0)] == ["Remove"]
        assert table.prune(SG, "eth0", 0.0, 30.0) == []

    def test_interfaces_and_upstreams_change(self) -> None:
        table = RouteTable()
        table.join(SG, "eth0", ETH9, 210, 0.0)
        table.join(SG, "eth1", ETH9, 210, 0.0)
        key = Key("239.1.1.1", "10.1.0.5")
        assert [e.action for e in table.set_upstream(key, RpfInfo("eth8"))] == ["Update"]
        assert table.set_upstream(key, RpfInfo("eth8")) == []
        assert [e.action for e in table.drop_interface("eth0")] == ["Update"]
        assert [e.action for e in table.drop_interface("eth1")] == ["Remove"]
        assert table.drop_interface("eth1") == []

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["join", "prune", "expire"]),
                st.sampled_from([SG, STAR, Entry("239.1.1.2", "10.1.0.5")]),
                st.sampled_from(["eth0", "eth1"]),
                st.integers(1, 50),
            ),
            max_size=40,
        )
    )
    def test_events_tell_the_whole_story(self, steps: list[tuple[str, Entry, str, int]]) -> None:
        table, published = RouteTable(), set()
        now = 0.0
        for what, entry, interface, seconds in steps:
            now += seconds
            if what == "join":
                events = table.join(entry, interface, ETH9, seconds * 2, now)
            elif what == "prune":
                events = table.prune(entry, interface, float(seconds % 4), now)
            else:
                events = table.expire(now)
            for event in events:
                key = Key(event.group, event.source)
                assert (event.action == "Add") == (key not in published)
                published.discard(key) if event.action == "Remove" else published.add(key)
        assert published == {route.key for route in table}
