"""One claim name per subnet, one VTEP MAC per node; a condition keeps its time until its status changes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_crds.names import QUILTNODE, QUILTSUBNET, claim_name, vtep_mac

# What the API server demands of an object's name (RFC 1123 subdomain).
OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cidr", "name"),
    [("10.42.1.0/24", "10.42.1.0-24"), ("fd42:0:0:1::/64", "fd42-0-0-1---64")],
)
def test_claim_names(cidr: str, name: str) -> None:
    assert claim_name(cidr) == name


@given(st.integers(1 << 124, (1 << 128) - 1), st.integers(16, 124))
def test_an_ipv6_claim_is_a_valid_object_name(address: int, length: int) -> None:
    cidr = str(IPv6Network((address, length), strict=False))
    assert OBJECT_NAME.fullmatch(claim_name(cidr)), cidr


@given(st.lists(st.integers(0, (1 << 24) - 1), unique=True, min_size=2, max_size=20))
def test_two_subnets_never_share_a_name(indexes: list[int]) -> None:
    names = {claim_name(str(IPv4Network((index << 8, 24)))) for index in indexes}
    assert len(names) == len(indexes)


def test_paths() -> None:
    assert QUILTSUBNET.path() == "/apis/quilt.io/v1alpha1/quiltsubnets"
    assert QUILTNODE.path("worker-1", "status") == "/apis/quilt.io/v1alpha1/quiltnodes/worker-1/status"


def test_the_vtep_mac_is_a_fixed_function() -> None:
    # Agents and operators of different versions must agree: this value may never change.
    assert vtep_mac("default", "a") == "9e:fb:36:11:7d:50"


@given(st.text(min_size=1, max_size=63), st.text(min_size=1, max_size=253))
def test_the_vtep_mac_is_local_and_unicast(network: str, node: str) -> None:
    mac = vtep_mac(network, node)
    assert re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", mac)
    assert int(mac[:2], 16) & 0b11 == 0b10
