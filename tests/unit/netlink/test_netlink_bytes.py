"""The messages that are written by structs of their own are, byte for byte, what pyroute2 would have sent."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_netlink import FdbEntry, Neighbour, Put, Route
from quilt_netlink.kernel import encode
from quilt_netlink.writes import ENCODERS
from tests.support.netlink_entries import entries, reference, seqs, verbs


@given(verbs, entries, seqs)
def test_messages_equal_pyroute2s(verb: Any, entry: Any, seq: int) -> None:
    assert ENCODERS[type(entry)](verb, entry, seq) == reference(verb(entry), seq)


mixed = st.lists(st.builds(lambda verb, entry: verb(entry), verbs, entries), min_size=1, max_size=20)


@given(mixed, st.integers(1, 1 << 30))
def test_operations_of_all_kinds_keep_their_order_and_numbers(ops: list[Any], first: int) -> None:
    messages, sent, invalid = encode(ops, range(len(ops)), first)
    assert messages == [reference(op, first + place) for place, op in enumerate(ops)]
    assert sent == list(range(len(ops)))
    assert not invalid


def test_an_invalid_one_uses_no_number() -> None:
    good = [Put(Neighbour(1, f"10.42.{n}.0", "02:00:00:00:00:01")) for n in range(9)]
    ops = [*good[:4], Put(Neighbour(1, "nowhere", "02:00:00:00:00:01")), *good[4:]]
    messages, sent, invalid = encode(ops, range(10), 7)
    assert messages == [reference(op, 7 + place) for place, op in enumerate(good)]
    assert sent == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert [(failure.index, failure.op) for failure in invalid] == [(4, ops[4])]


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
        ENCODERS[type(entry)](Put, entry, 1)
