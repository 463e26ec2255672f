"""A stamped message is, byte for byte, what pyroute2 would have sent."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from netlink_entries import entries, reference, seqs, verbs

from quilt_netlink import FdbEntry, Neighbour, Put, Route
from quilt_netlink.stamps import STAMPERS
from quilt_netlink.template import Slot, Template, u8, u32


@given(verbs, entries, seqs)
def test_stamped_messages_equal_pyroute2s(verb: Any, entry: Any, seq: int) -> None:
    assert STAMPERS[type(entry)](verb, entry, seq) == reference(verb(entry), seq)


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
        STAMPERS[type(entry)](Put, entry, 1)


def test_a_template_refuses_a_field_that_it_cannot_place() -> None:
    with pytest.raises(AssertionError, match="not where a field of 4 bytes is"):
        Template(lambda value: bytes([value["a"] & 0xFF, 0]), [u32("a")])
    with pytest.raises(AssertionError, match="in pieces"):
        Template(lambda value: bytes([value["a"], 0, value["a"]]), [Slot("a", "H", 1, 2)])
    with pytest.raises(AssertionError, match="slots overlap"):
        Template(lambda value: bytes([value["a"] ^ value["b"]]), [u8("a"), u8("b")])
