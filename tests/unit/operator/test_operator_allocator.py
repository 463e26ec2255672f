"""Which subnet is next: lowest first, never a reserved or taken one, whatever the ranges."""

from __future__ import annotations

from collections.abc import Container, Sequence
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_operator.core.plan import Network, Pool, make_pools, parse_cidr


def lowest_free(plan: Pool, taken: Container[int] = (), blocked: Sequence[range] = ()) -> Network | None:
    slot = next(plan.free_slots(taken, blocked), None)
    return None if slot is None else plan.subnet(slot)


def pool(*ranges: str, length: int = 24) -> Pool:
    return Pool(tuple(ip_network(text) for text in ranges), length)


def test_a_slash_16_serves_254_nodes_beginning_with_the_second_subnet() -> None:
    plan = pool("10.42.0.0/16")
    free = [str(plan.subnet(slot)) for slot in plan.free_slots(())]
    assert len(free) == 254
    assert (free[0], free[-1]) == ("10.42.1.0/24", "10.42.254.0/24")


def test_further_ranges_follow_in_their_order_each_with_its_own_reserved_subnets() -> None:
    plan = pool("10.44.0.0/22", "10.43.0.0/22")
    assert [str(plan.subnet(slot)) for slot in plan.free_slots(())] == [
        "10.44.1.0/24", "10.44.2.0/24", "10.43.1.0/24", "10.43.2.0/24"
    ]  # fmt: skip


@pytest.mark.parametrize(("range_", "usable"), [("10.0.0.0/24", 1), ("10.0.0.0/23", 2), ("10.0.0.0/22", 2)])
def test_ranges_of_one_or_two_subnets_reserve_nothing(range_: str, usable: int) -> None:
    assert len(list(pool(range_).free_slots(()))) == usable


def test_blocked_slots_are_skipped_at_once_even_in_a_huge_pool() -> None:
    plan = pool("fd00::/16", length=64)
    wall = range(plan.slots - 3)
    assert lowest_free(plan, (), (wall,)) == plan.subnet(plan.slots - 3)


def test_families_have_pools_of_their_own() -> None:
    pools = make_pools(["10.42.0.0/16"], 24, ["fd42::/48"], 64)
    assert {family: str(lowest_free(item)) for family, item in pools.items()} == {
        4: "10.42.1.0/24", 6: "fd42:0:0:1::/64"
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0", "10.0.0.1/24", "010.0.0.0/8", "fd42::0/64", "x", "10.0.0.0/33"]
)
def test_what_is_not_a_canonical_cidr_is_none(text: str) -> None:
    assert parse_cidr(text) is None


# A range of up to 64 subnets of /24, anywhere in 10/8, and its neighbours.
ranges = st.lists(
    st.tuples(st.integers(0, 255), st.integers(18, 24)),
    min_size=1,
    max_size=4,
    unique_by=lambda item: item[0],
).map(lambda items: [f"10.{second}.0.0/{length}" for second, length in items])


@given(ranges, st.data())
def test_slots_and_subnets_are_two_names_of_one_thing(texts: list[str], data: st.DataObject) -> None:
    plan = pool(*texts)
    slot = data.draw(st.integers(0, plan.slots - 1))
    subnet = plan.subnet(slot)
    assert plan.slot_of(subnet) == slot
    assert any(subnet.subnet_of(item) for item in plan.ranges)  # type: ignore[arg-type]
    wider = subnet.supernet(1)
    assert slot in set().union(*plan.overlapped(wider))
    narrower = list(subnet.subnets(1))[1]
    assert plan.overlapped(narrower) == (range(slot, slot + 1),)
    assert plan.slot_of(narrower) is None


@given(ranges, st.data())
def test_the_lowest_free_is_free_and_the_lowest(texts: list[str], data: st.DataObject) -> None:
    plan = pool(*texts)
    taken = data.draw(st.sets(st.integers(0, plan.slots - 1)))
    start = data.draw(st.integers(0, plan.slots))
    blocked = (range(start, data.draw(st.integers(start, plan.slots))),)
    usable = [
        slot
        for slot in range(plan.slots)
        if slot not in taken and slot not in plan.reserved and slot not in blocked[0]
    ]
    expected = plan.subnet(usable[0]) if usable else None
    assert lowest_free(plan, taken, blocked) == expected


def test_outside_the_pool_there_is_nothing() -> None:
    plan = pool("10.42.0.0/16")
    assert plan.slot_of(ip_network("10.43.0.0/24")) is None
    assert plan.overlapped(ip_network("fd42::/64")) == ()
    with pytest.raises(IndexError):
        plan.subnet(plan.slots)
