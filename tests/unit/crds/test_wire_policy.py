"""Endpoints and peers are written as they are read."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_crds.names import SELECTOR_LABEL, SLICE_SIZE
from quilt_crds.quiltendpoints import QuiltEndpoints
from quilt_crds.quiltpeers import QuiltPeers
from quilt_crds.wire import LabeledMeta
from quilt_crds.wire_policy import (
    SELECTOR_LIMIT,
    Endpoint,
    PeersSpec,
    complete,
    endpoints_spec,
    peers_name,
    peers_spec,
)
from quilt_crds.wire_policy import QuiltPeers as Slice

HASH, FAMILY = "0123456789abcdef", "fedcba9876543210"


def sent(spec: msgspec.Struct) -> Any:
    return msgspec.json.decode(msgspec.json.encode(spec))


def test_endpoints_are_in_the_order_of_their_addresses_and_counted() -> None:
    pods = [Endpoint("u1", "default", "a", "10.42.1.10"), Endpoint("u2", "default", "b", "10.42.1.9")]
    spec = endpoints_spec("worker-1", pods)
    assert [endpoint.name for endpoint in spec.endpoints] == ["b", "a"]
    assert (spec.node, spec.pods) == ("worker-1", 2)
    raw = {"metadata": {"name": "worker-1"}, "spec": sent(spec)}
    assert QuiltEndpoints.parse(raw).wire()["spec"] == raw["spec"]


@given(st.sets(st.integers(0, (1 << 32) - 1), max_size=SLICE_SIZE), st.booleans())
def test_addresses_are_read_as_they_were_written(addresses: set[int], complement: bool) -> None:
    spec = peers_spec(3, "{}", addresses, complement=complement)
    assert spec.addresses == tuple(sorted(addresses))
    raw = {"metadata": {"name": peers_name(HASH, 0)}, "spec": sent(spec)}
    assert QuiltPeers.parse(raw).wire()["spec"] == raw["spec"]


def test_an_address_is_four_bytes_in_network_order() -> None:
    assert peers_spec(1, "{}", [int(IPv4Address("10.42.1.9"))]).v4 == "CioBCQ=="


def test_what_is_no_list_of_addresses_is_refused() -> None:
    with pytest.raises(ValueError, match="3 bytes are no whole number of IPv4 addresses"):
        _ = PeersSpec(v4="AAAA").addresses
    with pytest.raises(ValueError, match="257 addresses are more than a slice of 256 has room for"):
        peers_spec(1, "{}", range(257))


def test_a_selector_that_is_too_long_is_refused() -> None:
    spec = peers_spec(1, "x" * SELECTOR_LIMIT, [])
    QuiltPeers.parse({"metadata": {"name": "x"}, "spec": sent(spec)})
    with pytest.raises(ValueError, match="a selector of 65537 characters is longer than 65536"):
        peers_spec(1, "x" * (SELECTOR_LIMIT + 1), [])


def piece(number: int, of: int, *, complement: bool = False) -> Slice:
    meta = LabeledMeta(name=peers_name(HASH, number), labels={SELECTOR_LABEL: FAMILY})
    return Slice(metadata=meta, spec=peers_spec(of, "{}", [], complement=complement))


def test_a_slice_is_known_by_its_name_and_found_by_its_label() -> None:
    peers = piece(12, 13)
    assert (peers.selector, peers.slice, peers.label) == (HASH, 12, FAMILY)
    foreign = Slice(metadata=LabeledMeta(name="other-x"))
    assert (foreign.slice, foreign.label) == (-1, "")


def test_slices_are_complete_when_slice_0_says_so() -> None:
    two = {0: piece(0, 2), 1: piece(1, 2)}
    assert complete(two)
    assert not complete({})
    assert not complete({1: piece(1, 1)})
    assert not complete({0: piece(0, 2)})
    assert complete({0: piece(0, 1), 1: piece(1, 2)}), "one slice is on its way out"
    assert complete({0: piece(0, 2), 1: piece(1, 3), 2: piece(2, 3)}), "one slice is on its way in"
    assert not complete(two | {1: piece(1, 2, complement=True)})
