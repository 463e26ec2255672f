"""What is read at once, by the layout of a message before, is what is read attribute by attribute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_netlink import decode
from quilt_netlink.layout import Layout
from quilt_netlink.schema import ndmsg, nhmsg, rtmsg
from quilt_netlink.shapes import HEADER, Kind, attribute

numbers = st.sampled_from([1, 2, 4, 5, 6, 8, 15, 30, 0x8005, 99])
attributes = st.lists(st.tuples(numbers, st.binary(max_size=18)), max_size=5)
kinds = st.sampled_from([ndmsg, nhmsg, rtmsg])
MAKERS: dict[Kind, Callable[..., Any]] = {ndmsg: decode.neighbour, nhmsg: decode.nexthop, rtmsg: decode.route}
# What the mesh's entries have, so that the makers for thousands of them are met often.
PLAIN = {ndmsg: ((1, 4), (2, 6)), nhmsg: ((1, 4), (5, 4), (6, 4)), rtmsg: ((15, 4), (1, 4), (30, 4), (5, 4))}


def message(kind: Kind, head: bytes, made: list[tuple[int, bytes]]) -> bytes:
    body = head[: kind.fixed.size] + b"".join(attribute(*item) for item in made)
    return HEADER.pack(HEADER.size + len(body), kind.base, 2, 7, 0) + body


def slowly(kind: Kind, data: bytes) -> dict[str, Any]:
    return kind.read(memoryview(data), HEADER.size, len(data))


@given(kinds, attributes, attributes, st.binary(min_size=16, max_size=16), st.integers(0, 3))
def test_a_layout_reads_what_attributes_do(
    kind: Kind, first: list[tuple[int, bytes]], second: list[tuple[int, bytes]], head: bytes, cut: int
) -> None:
    one, other = (message(kind, head, made) for made in (first, second))
    one = one[: len(one) - cut] if first else one
    layout = Layout.of(kind, memoryview(one), 0, len(one))
    if layout is None:
        return
    padded = one.ljust(layout.size, b"\0") + other
    found = [layout.read(values) for values in layout.rows(memoryview(padded), 0, len(padded))]
    assert found in ([slowly(kind, one)], [slowly(kind, one), slowly(kind, other)])


@given(kinds, st.data(), st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_what_is_made_at_once_is_what_is_made_of_each(
    kind: Kind, data: st.DataObject, head: bytes, other: bytes
) -> None:
    make, first = MAKERS[kind], data.draw(st.sampled_from(HEADS))
    both = []
    for rest in (head, other):
        made = [(n, data.draw(st.binary(min_size=size, max_size=size))) for n, size in PLAIN[kind]]
        both.append(message(kind, first + rest[1:], made))
    layout = Layout.of(kind, memoryview(both[0]), 0, len(both[0]))
    assert layout is not None
    at_once, joined = decode.at_once(make, layout), b"".join(both)
    found = [at_once(values) for values in layout.rows(memoryview(joined), 0, len(joined))]
    assert found == [make(slowly(kind, one)) for one in both]


HEADS = [bytes([family]) for family in (2, 7, 10)]


@pytest.mark.parametrize("kind", [ndmsg, nhmsg, rtmsg])
def test_the_meshs_own_are_made_at_once(kind: Kind) -> None:
    made = [(number, bytes(size)) for number, size in PLAIN[kind]]
    one = message(kind, b"\x02" + bytes(15), made)
    layout = Layout.of(kind, memoryview(one), 0, len(one))
    assert layout is not None
    assert "<lambda>" not in getattr(decode.at_once(MAKERS[kind], layout), "__qualname__", "")


def test_the_same_sizes_of_other_attributes_are_another_layout() -> None:
    one = message(ndmsg, bytes(16), [(1, b"\x0a\x2a\x01\x00"), (2, b"\x02\0\0\0\0\1")])
    other = message(ndmsg, bytes(16), [(1, b"\x0a\x2a\x01\x00"), (99, b"\x02\0\0\0\0\1")])
    layout = Layout.of(ndmsg, memoryview(one), 0, len(one))
    assert layout is not None
    found = [layout.read(values) for values in layout.rows(memoryview(one + other), 0, len(one + other))]
    assert [values["NDA_LLADDR"] for values in found] == ["02:00:00:00:00:01"]
