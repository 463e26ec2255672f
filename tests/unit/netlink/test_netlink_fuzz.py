"""Whatever a datagram holds, reading it ends, and in nothing but entries or a NetlinkError."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from quilt_netlink import Link, NetlinkError, Vxlan, decode, links
from quilt_netlink.channel import refusal, walk
from quilt_netlink.schema import READ
from quilt_netlink.shapes import Message
from quilt_netlink.tables import Reader
from tests.support.netlink_entries import entries, reference, verbs

SEQ = 7
KINDS = st.sampled_from(
    [2, 3, 16, 17, 20, 21, 24, 25, 28, 29, 32, 80, 81, 84, 85, 104, 105, 0xA00, 0xA0C, 0xA0F, 999]
)
LINKS = [
    links.create(Link("vxlan100", "vxlan", mac="02:00:00:00:00:01", vxlan=Vxlan(100, 4789, "198.18.0.1"))),
    links.create(Link("ve0", "veth", mtu=1450, peer=Link("eth0"))),
]
MAKERS: dict[int, Callable[[Message], object]] = {
    28: decode.neighbour,
    104: decode.nexthop,
    16: decode.link,
    20: decode.address,
    84: decode.groups,
    32: decode.multicast_rule,
}
ROUTES: list[Callable[[Message], object]] = [decode.route, decode.unreachable, decode.multicast_route]
READERS = st.sampled_from([*MAKERS.items(), *((24, make) for make in ROUTES)])

bodies = st.binary(max_size=120)
real = st.builds(lambda verb, entry: reference(verb(entry), SEQ), verbs, entries) | st.sampled_from(LINKS)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message with any body, or a real one with some bytes changed or its end cut off."""
    if draw(st.booleans()):
        body = draw(bodies)
        size = draw(st.just(16 + len(body)) | st.integers(0, 300))
        return (
            struct.pack("=IHHII", size, draw(KINDS), draw(st.sampled_from([0, 2, 0x12, 0x200])), SEQ, 0)
            + body
        )
    data = bytearray(draw(real))
    struct.pack_into("=I", data, 8, SEQ)
    for place in draw(st.lists(st.integers(16, len(data) - 1), max_size=4)):
        data[place] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(16, len(data)))] if draw(st.booleans()) else data)


def bare_error(flags: int) -> bytes:
    """An error that does not say what it answers, with a number that no error has."""
    return struct.pack("=IHHIIi", 20, 2, flags, SEQ, 0, -(2**31))


datagrams = st.lists(messages(), max_size=4).map(b"".join) | st.binary(max_size=200)


@settings(max_examples=400)
@given(datagrams, READERS)
@example(bare_error(0), (28, decode.neighbour))
@example(bare_error(0x200), (28, decode.neighbour))
def test_any_datagram_of_a_dump_is_read_or_refused(
    data: bytes, reads: tuple[int, Callable[[Message], object]]
) -> None:
    kind, make = reads
    with suppress(NetlinkError):
        Reader(make, READ[kind]).consume(memoryview(data), len(data), SEQ)


@settings(max_examples=400)
@given(datagrams)
def test_any_notification_is_read_or_ignored(data: bytes) -> None:
    view = memoryview(data)
    for kind, flags, _, start, end in walk(view, len(data)):
        if kind in (2, 3):
            refusal(view, flags, start, min(end, len(data)))
        else:
            decode.change(kind, view, start, min(end, len(data)))


def test_the_real_messages_are_read_at_all() -> None:
    reader: Reader = Reader(decode.link, READ[16])
    data = bytearray(LINKS[0])
    struct.pack_into("=I", data, 8, SEQ)
    reader.consume(memoryview(data), len(data), SEQ)
    assert [entry.name for entry in reader.entries] == ["vxlan100"]
