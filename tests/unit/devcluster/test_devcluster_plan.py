"""Addresses, slots and names of clusters: disjoint, inside the test range, stable."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_devcluster import plan
from quilt_devcluster.errors import DevclusterError

SLOTS = st.integers(0, plan.SLOTS - 1)


def test_slot_zero_is_the_first_slice_of_the_test_range() -> None:
    addresses = plan.Addresses(0)
    assert str(addresses.network) == "198.18.0.0/20"
    assert (addresses.switch, addresses.control_plane) == ("198.18.0.1", "198.18.0.2")
    assert (addresses.node(1), addresses.node(3)) == ("198.18.0.16", "198.18.0.18")
    assert plan.api_url(addresses.node(1)) == "https://198.18.0.16:6443"


def test_last_slot_ends_with_the_test_range() -> None:
    last = plan.Addresses(plan.SLOTS - 1).network
    assert last.broadcast_address == plan.TEST_RANGE.broadcast_address


@given(SLOTS, SLOTS)
def test_clusters_do_not_overlap(one: int, other: int) -> None:
    first, second = plan.Addresses(one), plan.Addresses(other)
    assert first.network.subnet_of(plan.TEST_RANGE)
    assert first.network.overlaps(second.network) == (one == other)
    assert (first.loopback_port() == second.loopback_port()) == (one == other)


@given(SLOTS, st.integers(1, plan.MAX_NODES))
def test_every_machine_has_an_address_of_its_own_in_the_slice(slot: int, index: int) -> None:
    addresses = plan.Addresses(slot)
    node = ipaddress.IPv4Address(addresses.node(index))
    assert node in addresses.network
    assert node != addresses.network.broadcast_address
    assert str(node) not in (addresses.switch, addresses.control_plane)


@pytest.mark.parametrize("index", [0, -1, plan.MAX_NODES + 1])
def test_a_node_outside_the_slice_is_refused(index: int) -> None:
    with pytest.raises(DevclusterError, match="no node number"):
        plan.Addresses(0).node(index)


def test_the_first_two_nodes_have_api_servers() -> None:
    assert plan.servers(["node-1", "node-2", "node-3"]) == ["node-1", "node-2"]
    assert plan.servers(["node-1"]) == ["node-1"]
    assert plan.servers([]) == [plan.CONTROL_PLANE]


def test_nodes_ask_either_api_server() -> None:
    servers = ["node-1", "node-2"]
    asked = [plan.server_of(servers, plan.node_name(index), index) for index in range(1, 5)]
    assert asked == ["node-1", "node-2", "node-2", "node-1"]


@given(SLOTS, SLOTS)
def test_each_api_server_has_a_loopback_port_of_its_own(one: int, other: int) -> None:
    assert plan.Addresses(one).loopback_port() != plan.Addresses(other).loopback_port(1)


@given(st.sets(SLOTS, max_size=plan.SLOTS - 1))
def test_the_lowest_free_slot_is_taken(used: set[int]) -> None:
    slot = plan.free_slot(used)
    assert slot not in used
    assert set(range(slot)) <= used


def test_all_slots_taken_says_what_to_do() -> None:
    with pytest.raises(DevclusterError, match="down"):
        plan.free_slot(set(range(plan.SLOTS)))


@pytest.mark.parametrize("name", ["quilt", "t1", "a", "a-b", "0", "x" * 32])
def test_good_names(name: str) -> None:
    assert plan.check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a_b", "../x", "a/b", "x" * 33, "a\n"])
def test_bad_names_never_become_folders(name: str) -> None:
    with pytest.raises(DevclusterError, match="cannot be used"):
        plan.check_name(name)


@given(SLOTS, st.integers(0, plan.MAX_NODES))
def test_mac_is_local_unicast_and_stable(slot: int, index: int) -> None:
    mac = plan.node_mac(slot, index)
    first = int(mac.split(":")[0], 16)
    assert len(mac) == 17
    assert first & 0b11 == 0b10
    assert mac == plan.node_mac(slot, index) != plan.switch_mac(slot)
