"""Whatever a caller sends becomes a canonical value or an error that names it; nothing else ever happens."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from ipaddress import IPv4Network
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_runtime.core import requests, routes
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.errors import RequestError
from quilt_runtime.services.sockets import joined, parse_tcp

T = TypeVar("T")


def tried(act: Callable[..., T], *arguments: object) -> tuple[T | None, str]:
    """Return what `act` returned, or the text of its refusal; anything else that it raises is a failure."""
    try:
        return act(*arguments), ""
    except RequestError as error:
        return None, str(error) or "an error without a text"


CLUSTER = [IPv4Network("10.42.0.0/16")]
texts = (
    st.text(max_size=60)
    | st.from_regex(r"[0-9./]{1,20}", fullmatch=True)
    | st.from_regex(r"[0-9a-f:/]{1,44}")
)


@given(texts)
def test_any_text_is_a_network_or_an_error(text: str) -> None:
    network, error = tried(requests.parse_network, "Subnet", text)
    assert error != "an error without a text"
    if not error:
        assert ipaddress.ip_network(text) == network


@given(texts)
def test_the_fast_way_accepts_only_what_the_slow_way_does_and_alike(text: str) -> None:
    fast = routes.canonical4(text)
    if fast:
        assert fast == str(routes.route_destination(requests.parse_network4("Destination", text)))


@given(st.ip_addresses(v=4), st.integers(16, 32))
def test_every_ordinary_canonical_ipv4_network_is_read_the_fast_way(
    address: ipaddress.IPv4Address, length: int
) -> None:
    network = ipaddress.IPv4Network((address, length), strict=False)
    _, error = tried(routes.route_destination, network)
    ordinary = not error and network.network_address.packed[0] in range(1, 224)
    assert routes.canonical4(str(network)) == (str(network) if ordinary else "")


@given(st.integers(0, 0xFFFF), st.integers(16, 32))
def test_every_part_of_the_cluster_that_has_room_is_a_node_subnet(number: int, length: int) -> None:
    """t11: A node subnet may have any length that leaves room for a pod."""
    wanted = IPv4Network((int(CLUSTER[0].network_address) + number, length), strict=False)
    subnet, error = tried(requests.node_subnet, str(wanted), CLUSTER, length)
    if length <= 30:
        assert (subnet, error) == (wanted, "")
    else:
        assert error == f"Subnet {wanted} has no room for a pod: a /30 is the smallest that has"


def test_several_cluster_cidrs_are_all_named() -> None:
    cidrs = [*CLUSTER, IPv4Network("10.50.0.0/16")]
    assert requests.node_subnet("10.50.3.0/24", cidrs, 24)
    with pytest.raises(RequestError, match=r"within cluster CIDRs 10\.42\.0\.0/16, 10\.50\.0\.0/16"):
        requests.node_subnet("10.51.3.0/24", cidrs, 24)


@given(st.text(max_size=30))
def test_any_text_is_an_interface_name_or_an_error(text: str) -> None:
    name, error = tried(routes.interface_name, text)
    assert error or (name == text and 0 < len(text.encode()) <= 15 and "/" not in text)


@given(texts, st.sampled_from([4, 6]))
def test_any_text_is_a_gateway_or_an_error(text: str, family: int) -> None:
    gateway, error = tried(routes.gateway, text, family)
    assert error or gateway == text == "" or ipaddress.ip_address(gateway or "").version == family


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:50051", ("127.0.0.1", 50051)),
        ("127.8.0.1:1", ("127.8.0.1", 1)),
        ("[::1]:50051", ("::1", 50051)),
    ],
)
def test_loopback_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_tcp(text) == address
    assert parse_tcp(joined(*address)) == address


@given(st.text(max_size=40) | st.from_regex(r"[0-9.:\[\]]{1,30}"))
def test_any_text_is_a_loopback_address_or_an_error(text: str) -> None:
    found, error = tried(parse_tcp, text)
    assert error or (found and ipaddress.ip_address(found[0]).is_loopback and 0 <= found[1] <= 65535)


def merged(config: NodeConfig, **changes: object) -> NodeConfig:
    empty: dict[str, object] = {
        "cluster_cidrs": [],
        "mtu": 0,
        "vxlan_interface": "",
        "vxlan_port": 0,
        "overlay_sources": [],
        "prefix_length": 0,
    }
    found, refused = config.merged(**{**empty, **changes})  # type: ignore[arg-type]
    if refused:
        raise RequestError(refused[0])
    return found


def test_what_a_configuration_leaves_out_stays() -> None:
    config = merged(NodeConfig(), mtu=1400, cluster_cidrs=["10.42.0.0/16", "fd42::/48"], vxlan_port=8472)
    assert merged(config) == config
    assert NodeConfig.from_document(config.documents()["config"]) == config
    assert config.cluster_cidrs_v4 == CLUSTER


def test_overlay_sources_change_one_by_one_as_in_the_whole() -> None:
    config = merged(NodeConfig(), overlay_sources=["198.18.0.2", "fd00::2"])
    changed = config.with_sources(["198.18.0.3", "FD00::3", "198.18.0.2"], ["fd00:0::2", "198.18.0.9"])
    assert changed == merged(config, overlay_sources=["198.18.0.2", "198.18.0.3", "fd00::3"])
    assert changed.with_sources([], changed.overlay_sources).overlay_sources == frozenset()
    for add, remove in ((["peer"], []), ([], ["peer"])):
        with pytest.raises(RequestError, match="peer"):
            config.with_sources(add, remove)


@pytest.mark.parametrize(
    "changes",
    [
        {"mtu": 10},
        {"mtu": 70000},
        {"vxlan_port": 65536},
        {"cluster_cidrs": ["10.42.0.1/16"]},
        {"overlay_sources": ["peer"]},
        {"vxlan_interface": "a b"},
        {"prefix_length": 33},
    ],
)
def test_a_wrong_configuration_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        merged(NodeConfig(), **changes)
