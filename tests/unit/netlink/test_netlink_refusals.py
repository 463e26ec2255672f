"""What the kernel says when it refuses is found in its answer, whatever else is in it."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_netlink import Create, Failure, Neighbour, NetlinkError
from quilt_netlink.channel import refusal, walk

CAPPED, TLVS = 0x100, 0x200


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", len(payload) + 4, kind) + payload + bytes(-len(payload) % 4)


def error_message(number: int, flags: int, request: bytes, attrs: bytes) -> memoryview:
    payload = struct.pack("=i", -number) + request + attrs
    return memoryview(struct.pack("=IHHII", 16 + len(payload), 2, flags, 1, 0) + payload)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), st.booleans())
def test_the_text_is_found_behind_a_capped_or_a_whole_request(text: str, capped: bool) -> None:
    request = struct.pack("=IHHII", 40, 24, 5, 1, 0) + (b"" if capped else bytes(24))
    attrs = attribute(2, struct.pack("=I", 20)) + attribute(1, text.encode() + b"\0")
    view = error_message(errno.EINVAL, TLVS | (CAPPED if capped else 0), request, attrs)
    (kind, flags, seq, start, end), *_ = walk(view, len(view))
    assert (kind, seq) == (2, 1)
    assert refusal(view, flags, start, end) == (errno.EINVAL, text)


@given(st.binary(max_size=64))
def test_nonsense_is_survived(tail: bytes) -> None:
    view = error_message(errno.EPERM, CAPPED | TLVS, bytes(16), tail)
    assert refusal(view, CAPPED | TLVS, 0, len(view))[0] == errno.EPERM
    walk(memoryview(tail), len(tail))


def test_an_acknowledgement_is_no_refusal() -> None:
    view = error_message(0, CAPPED, bytes(16), b"")
    assert refusal(view, CAPPED, 0, len(view)) == (0, "")


def test_errors_say_what_and_why() -> None:
    op = Create(Neighbour(3, "10.42.1.0", "02:00:00:00:00:01"))
    assert "10.42.1.0" in str(NetlinkError(errno.EEXIST, op=op))
    assert "File exists (EEXIST)" in str(NetlinkError(errno.EEXIST))
    assert NetlinkError(errno.EINVAL, "Nexthop id does not exist").message == "Nexthop id does not exist"


@pytest.mark.parametrize(
    ("number", "absent"), [(errno.ENOENT, True), (errno.ESRCH, True), (errno.EPERM, False)]
)
def test_failures_know_whether_there_was_nothing_to_remove(number: int, absent: bool) -> None:
    op = Create(Neighbour(3, "10.42.1.0", "02:00:00:00:00:01"))
    assert Failure(0, op, number, "x").absent is absent
