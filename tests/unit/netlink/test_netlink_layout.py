"""What is read at once, by the layout of a message before, is what is read attribute by attribute."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quilt_netlink.layout import Layout
from quilt_netlink.schema import ndmsg, nhmsg, rtmsg
from quilt_netlink.shapes import Kind, attribute

numbers = st.sampled_from([1, 2, 4, 5, 6, 8, 15, 30, 0x8005, 99])
attributes = st.lists(st.tuples(numbers, st.binary(max_size=18)), max_size=5)
kinds = st.sampled_from([ndmsg, nhmsg, rtmsg])


@given(kinds, attributes, attributes, st.binary(min_size=16, max_size=16), st.integers(0, 3))
def test_a_layout_reads_what_attributes_do(
    kind: Kind, first: list[tuple[int, bytes]], second: list[tuple[int, bytes]], head: bytes, cut: int
) -> None:
    one, other = (
        head[: kind.fixed.size] + b"".join(attribute(*item) for item in made) for made in (first, second)
    )
    one = one[: len(one) - cut] if first else one
    layout = Layout.of(kind, memoryview(one), 0, len(one))
    if layout is None:
        return
    assert layout.read(memoryview(one), 0) == kind.read(memoryview(one), 0, len(one))
    if len(other) == len(one):
        assert layout.read(memoryview(other), 0) in (None, kind.read(memoryview(other), 0, len(other)))


def test_the_same_sizes_of_other_attributes_are_another_layout() -> None:
    head = bytes(ndmsg.fixed.size)
    one = head + attribute(1, b"\x0a\x2a\x01\x00") + attribute(2, b"\x02\0\0\0\0\1")
    other = head + attribute(1, b"\x0a\x2a\x01\x00") + attribute(99, b"\x02\0\0\0\0\1")
    layout = Layout.of(ndmsg, memoryview(one), 0, len(one))
    assert layout is not None
    assert (layout.read(memoryview(one), 0) or {})["NDA_LLADDR"] == "02:00:00:00:00:01"
    assert layout.read(memoryview(other), 0) is None
