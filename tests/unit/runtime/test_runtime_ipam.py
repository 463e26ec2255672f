"""Addresses: never twice, never a reserved one, remembered over any end of the process."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing, suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quilt_runtime.addresses import RECOVERED, Addresses
from quilt_runtime.core import ipam
from quilt_runtime.core.errors import AddressTakenError, ExhaustedError, NoSubnetError, RequestError
from quilt_runtime.core.ipam import Owner
from quilt_runtime.state import FILE, StateError, Store

SUBNET = IPv4Network("10.42.1.0/24")


def owner(number: int | str) -> Owner:
    return Owner(f"c{number}", "eth0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def addresses(store: Store) -> Addresses:
    made = Addresses(store)
    made.set_subnet(SUBNET)
    return made


@given(st.sets(st.integers(2, 254)), st.integers(0, 2**32 - 1))
def test_the_next_address_is_free_usable_and_behind_the_cursor(taken: set[int], cursor: int) -> None:
    base = int(SUBNET.network_address)
    if len(taken) == 253:
        return
    found = int(ipam.next_free(SUBNET, {base + n for n in taken}, cursor, len(taken))) - base
    assert found not in taken | {0, 1, 255}
    free = [n for n in range(2, 255) if n not in taken]
    behind = [n for n in free if base + n > cursor] if base + 2 <= cursor <= base + 254 else free
    assert found == min(behind or free)


@pytest.mark.parametrize("length", [30, 31, 32])
def test_tiny_subnets_have_no_room_to_spare(length: int) -> None:
    subnet = IPv4Network(f"10.42.1.0/{length}")
    assert ipam.capacity(subnet) == (1 if length == 30 else 0)


@given(st.ip_addresses(v=4))
def test_an_interface_name_tells_its_address(address: IPv4Address) -> None:
    name = ipam.veth_name(address)
    assert len(name) <= 15
    assert ipam.veth_address(name) == address


@pytest.mark.parametrize(
    "name", ["quilt0", "qv", "qv0a2a010", "qv0a2a01022", "qv0A2A0102", "xv0a2a0102", "0a2a0102"]
)
def test_other_names_tell_none(name: str) -> None:
    assert ipam.veth_address(name) is None


def test_a_full_subnet_counts(addresses: Addresses) -> None:
    given_out = {addresses.allocate(owner(n))[0].address for n in range(253)}
    assert len(given_out) == 253
    with pytest.raises(ExhaustedError, match="253 of 253 are in use"):
        addresses.allocate(owner("late"))
    addresses.release([owner(100)])
    assert addresses.allocate(owner("late"))[0].address in given_out


def test_a_released_address_rests(addresses: Addresses) -> None:
    first = addresses.allocate(owner(1))[0].address
    addresses.release([owner(1)])
    assert [addresses.allocate(owner(n))[0].address - 1 for n in (2,)] == [first]


def test_an_owner_gets_the_same_again(addresses: Addresses) -> None:
    first, new = addresses.allocate(owner(1))
    assert new
    assert addresses.allocate(owner(1)) == (first, False)
    assert addresses.allocate(owner(1), wishes=[str(first.address)]) == (first, False)
    with pytest.raises(AddressTakenError):
        addresses.allocate(owner(1), wishes=["10.42.1.99"])


@pytest.mark.parametrize(
    "wish", ["10.42.1.0", "10.42.1.1", "10.42.1.255", "10.42.2.5", "fd42::5", "nonsense", "\x00"]
)
def test_an_impossible_wish_is_refused(addresses: Addresses, wish: str) -> None:
    with pytest.raises(RequestError):
        addresses.allocate(owner(1), wishes=[wish])
    assert len(addresses) == 0


def test_a_wish_for_a_taken_address_names_the_holder(addresses: Addresses) -> None:
    addresses.allocate(owner(1), wishes=["10.42.1.77"])
    with pytest.raises(AddressTakenError, match="c1/eth0"):
        addresses.allocate(owner(2), wishes=["10.42.1.77/24"])


def test_nothing_without_a_subnet(store: Store) -> None:
    with pytest.raises(NoSubnetError):
        Addresses(store).allocate(owner(1))


def test_everything_is_remembered(addresses: Addresses, store: Store) -> None:
    addresses.allocate(owner(1))
    second = addresses.allocate(owner(2), network="quilt")[0]
    addresses.release([owner(1)])
    again = Addresses(store)
    assert again.subnet == SUBNET
    assert again.held() == [second]
    assert again.allocate(owner(3))[0].address == second.address + 1


operations = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60)


@given(operations)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_memory_and_database_never_part(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, int]]
) -> None:
    store = Store(tmp_path_factory.mktemp("state"))
    addresses = Addresses(store)
    addresses.set_subnet(IPv4Network("10.42.1.0/28"))
    for allocate, number in steps:
        try:
            addresses.allocate(owner(number)) if allocate else addresses.release([owner(number)])
        except ExhaustedError:
            assert len(addresses) == 13
    held = addresses.held()
    assert len({allocation.address for allocation in held}) == len(held)
    assert Addresses(store).held() == held
    store.close()


def test_a_write_that_fails_changes_nothing(addresses: Addresses, store: Store) -> None:
    addresses.allocate(owner(1))
    other = sqlite3.connect(store.path)
    other.execute(
        "CREATE TRIGGER full BEFORE INSERT ON allocations BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    other.commit()
    with pytest.raises(StateError, match="disk full"):
        addresses.allocate(owner(2))
    assert [a.owner for a in addresses.held()] == [a.owner for a in Addresses(store).held()] == [owner(1)]
    other.execute("DROP TRIGGER full")
    other.commit()
    other.close()
    assert addresses.allocate(owner(2))[1]


def test_an_unreadable_database_is_kept_aside(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"not a database" * 999)
    store = Store(tmp_path)
    assert store.allocations() == []
    (kept,) = tmp_path.glob("state.db.unreadable-*")
    assert kept.read_bytes().startswith(b"not a database")


def test_recovered_addresses_are_held_while_their_interface_is_there(addresses: Addresses) -> None:
    known = addresses.allocate(owner(1))[0]
    lost = IPv4Address("10.42.1.9")
    recovered = addresses.recover([known.address, lost])
    assert [(a.owner.container_id, a.address) for a in recovered] == [(RECOVERED, lost)]
    assert addresses.forget_vanished(lambda allocation: True) == []
    assert [a.address for a in addresses.forget_vanished(lambda allocation: False)] == [lost]
    assert addresses.held() == [known]


def test_a_database_of_another_program_is_set_aside(tmp_path: Path) -> None:
    """t23: Only a database that is corrupt or not the runtime's is set aside."""
    with closing(sqlite3.connect(tmp_path / FILE)) as foreign, foreign:
        foreign.execute("CREATE TABLE allocations (of TEXT)")
        foreign.execute("PRAGMA user_version = 1")
    store = Store(tmp_path)
    assert store.allocations() == []
    assert len(list(tmp_path.glob(f"{FILE}.unreadable-*"))) == 1


def test_a_database_that_cannot_be_opened_now_stays_where_it_is(tmp_path: Path) -> None:
    """t23: A database that cannot be opened for want of something else is not touched."""
    made = Addresses(Store(tmp_path))
    made.set_subnet(SUBNET)
    made.allocate(owner(1))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        with suppress(StateError):
            Store(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list(tmp_path.glob(f"{FILE}.unreadable-*"))
    assert len(Addresses(Store(tmp_path))) == 1
