"""What is read together, by the layout of a message before, is what is read attribute by attribute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_netlink import Neighbour, Nexthop, Route, decode
from quilt_netlink.layout import Layout
from quilt_netlink.schema import ndmsg, nhmsg, rtmsg
from quilt_netlink.shapes import HEADER, Kind, Message, attribute

numbers = st.sampled_from([1, 2, 4, 5, 6, 8, 15, 30, 0x8005, 99])
attributes = st.lists(st.tuples(numbers, st.binary(max_size=18)), max_size=5)
kinds = st.sampled_from([ndmsg, nhmsg, rtmsg])
MAKERS: dict[Kind, Callable[..., Any]] = {ndmsg: decode.neighbour, nhmsg: decode.nexthop, rtmsg: decode.route}
# What the mesh's entries have, so that the makers for thousands of them are met often.
PLAIN = {ndmsg: ((1, 4), (2, 6)), nhmsg: ((1, 4), (5, 4), (6, 4)), rtmsg: ((15, 4), (1, 4), (30, 4), (5, 4))}


HEADS = [bytes([family]) for family in (2, 7, 10)]


def message(kind: Kind, head: bytes, made: list[tuple[int, bytes]]) -> bytes:
    body = head[: kind.fixed.size] + b"".join(attribute(*item) for item in made)
    return HEADER.pack(HEADER.size + len(body), kind.base, 2, 7, 0) + body


def slowly(kind: Kind, data: bytes) -> dict[str, Any]:
    return kind.read(memoryview(data), HEADER.size, len(data))


def together(make: Callable[[Message], Any], kind: Kind, one: bytes, data: bytes) -> list[Any] | None:
    """What the layout of one message makes of those that data begins with; None where it has none."""
    layout = Layout.of(kind, memoryview(one), 0, len(one))
    if layout is None:
        return None
    padded = memoryview(one.ljust(layout.size, b"\0") + data)
    count = layout.count(padded, 0, len(padded))
    columns, fields = layout.read(padded, 0, count), kind.fields(memoryview(one), HEADER.size)
    return list(decode.alike(make, make(slowly(kind, one)), fields, columns))


@given(kinds, attributes, attributes, st.binary(min_size=16, max_size=16), st.integers(0, 3))
def test_a_layout_reads_what_attributes_do(
    kind: Kind, first: list[tuple[int, bytes]], second: list[tuple[int, bytes]], head: bytes, cut: int
) -> None:
    one, other = (message(kind, head, made) for made in (first, second))
    one = one[: len(one) - cut] if first else one
    found = together(dict, kind, one, other)
    assert found in (None, [slowly(kind, one)], [slowly(kind, one), slowly(kind, other)])


@given(kinds, st.data(), st.binary(min_size=15, max_size=15))
def test_what_is_made_together_is_what_is_made_of_each(kind: Kind, data: st.DataObject, head: bytes) -> None:
    make, first = MAKERS[kind], data.draw(st.sampled_from(HEADS))
    both = []
    for _ in range(2):
        made = [(n, data.draw(st.binary(min_size=size, max_size=size))) for n, size in PLAIN[kind]]
        both.append(message(kind, first + head, made))
    each = [make(slowly(kind, one)) for one in both]
    assert together(make, kind, *both) == [entry for entry in each if entry is not None]


def never(_: Message) -> Any:
    raise AssertionError


@pytest.mark.parametrize(
    "first",
    [
        Neighbour(3, "10.42.1.0", "02:00:00:00:00:01"),
        Nexthop(5, 3, "10.42.1.0"),
        Route("10.42.1.0/24", 81, 5),
    ],
)
def test_the_meshs_own_are_made_of_columns(first: Neighbour | Nexthop | Route) -> None:
    kind = {Neighbour: ndmsg, Nexthop: nhmsg, Route: rtmsg}[type(first)]
    one = message(kind, b"\x02" + bytes(15), [(number, b"\x01" * size) for number, size in PLAIN[kind]])
    layout = Layout.of(kind, memoryview(one), 0, len(one))
    assert layout is not None
    columns = layout.read(memoryview(one * 2), 0, 2)
    assert len(list(decode.alike(never, first, {"dst_len": 24}, columns))) == 2


def test_the_same_sizes_of_other_attributes_are_another_layout() -> None:
    one = message(ndmsg, bytes(16), [(1, b"\x0a\x2a\x01\x00"), (2, b"\x02\0\0\0\0\1")])
    other = message(ndmsg, bytes(16), [(1, b"\x0a\x2a\x01\x00"), (99, b"\x02\0\0\0\0\1")])
    found = together(dict, ndmsg, one, other)
    assert found is not None
    assert [values["NDA_LLADDR"] for values in found] == ["02:00:00:00:00:01"]
