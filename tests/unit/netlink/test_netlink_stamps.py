"""A stamped message is, byte for byte, what pyroute2 would have sent."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netlink_entries import entries, reference, seqs, verbs

from quilt_netlink import FdbEntry, Neighbour, Put, Route
from quilt_netlink.stamps import stamp
from quilt_netlink.template import Slot, Template, u8, u32
from quilt_netlink.writer import _encode


@given(verbs, entries, seqs)
def test_stamped_messages_equal_pyroute2s(verb: Any, entry: Any, seq: int) -> None:
    assert stamp([verb(entry)], range(seq, seq + 1)) == [reference(verb(entry), seq)]


mixed = st.lists(st.builds(lambda verb, entry: verb(entry), verbs, entries), min_size=1, max_size=20)


@given(mixed, st.integers(1, 1 << 30))
def test_operations_of_all_kinds_keep_their_order_and_numbers(ops: list[Any], first: int) -> None:
    messages: list[bytes] = []
    _encode(ops, range(len(ops)), first, messages, invalid := {})
    assert messages == [reference(op, first + place) for place, op in enumerate(ops)]
    assert not invalid


def test_an_invalid_one_takes_no_number() -> None:
    good = [Put(Neighbour(1, f"10.42.{n}.0", "02:00:00:00:00:01")) for n in range(9)]
    ops = [*good[:4], Put(Neighbour(1, "nowhere", "02:00:00:00:00:01")), *good[4:]]
    messages: list[bytes] = []
    _encode(ops, range(10), 7, messages, invalid := {})
    assert messages == [reference(op, 7 + place) for place, op in enumerate(good)]
    assert [(place, failure.index, failure.op) for place, failure in invalid.items()] == [(4, 4, ops[4])]


@pytest.mark.parametrize(
    "entry",
    [
        Neighbour(1, "10.42.1", "02:00:00:00:00:01"),
        Neighbour(1, "10.42.1.0", "02:00:00:00:00"),
        FdbEntry(1, "02:00:00:00:00:zz", "198.18.0.1"),
        Route("10.42.1.0/x", 81, nhid=1),
        Route("10.42.1.0/24", 300, nhid=1),
    ],
)
def test_what_is_no_address_is_refused(entry: Any) -> None:
    with pytest.raises((OSError, ValueError, struct.error)):
        stamp([Put(entry)], range(1, 2))


def test_a_template_refuses_a_field_that_it_cannot_place() -> None:
    with pytest.raises(AssertionError, match="not where a field of 4 bytes is"):
        Template(lambda value: bytes([value["a"] & 0xFF, 0]), [u32("a")])
    with pytest.raises(AssertionError, match="in pieces"):
        Template(lambda value: bytes([value["a"], 0, value["a"]]), [Slot("a", "H", 1, 2)])
    with pytest.raises(AssertionError, match="slots overlap"):
        Template(lambda value: bytes([value["a"] ^ value["b"]]), [u8("a"), u8("b")])
