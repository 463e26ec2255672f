"""Blocks without their exceptions, as ranges, held against `ipaddress`."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from quilt_policy.objects import IPBlock
from quilt_policy.ranges import Ranges, from_blocks

LAST = 2**32 - 1


@st.composite
def networks(draw: st.DrawFn, *, base: str = "10.0.0.0", least: int = 24) -> str:
    """Networks of few addresses that are near each other."""
    length = draw(st.integers(least, 32))
    number = int(ip_address(base)) + draw(st.integers(0, 255))
    return str(ip_network((number, length), strict=False))


@st.composite
def networks6(draw: st.DrawFn) -> str:
    number = int(ip_address("fd00::")) + draw(st.integers(0, 255))
    return str(ip_network((number, draw(st.integers(120, 128))), strict=False))


def blocks(of: st.SearchStrategy[str]) -> st.SearchStrategy[list[IPBlock]]:
    return st.lists(st.builds(IPBlock, of, st.lists(of, max_size=4).map(tuple)), max_size=4)


def expected(found: list[IPBlock], address: str) -> bool:
    wanted = ip_address(address)
    return any(
        wanted in ip_network(block.cidr) and not any(wanted in ip_network(hole) for hole in block.except_)
        for block in found
    )


@given(blocks(networks()))
def test_ranges_have_what_the_blocks_have(found: list[IPBlock]) -> None:
    ranges = from_blocks(found)
    for number in range(-2, 258):
        address = ip_address(int(ip_address("10.0.0.0")) + number)
        assert (address.packed in ranges) is expected(found, str(address))


@given(blocks(networks6()))
def test_ranges_of_ipv6_too(found: list[IPBlock]) -> None:
    ranges = from_blocks(found)
    assert not ranges.v4
    for number in range(256):
        address = ip_address(int(ip_address("fd00::")) + number)
        assert (address.packed in ranges) is expected(found, str(address))


@given(blocks(st.one_of(networks(), networks6())))
def test_ranges_are_sorted_and_disjoint_and_do_not_touch(found: list[IPBlock]) -> None:
    ranges = from_blocks(found)
    for pairs in (ranges.v4, ranges.v6):
        assert all(first <= last for first, last in pairs)
        assert all(before[1] + 1 < after[0] for before, after in pairwise(pairs))


def test_blocks_that_hold_each_other_become_one() -> None:
    assert from_blocks(
        [IPBlock("10.0.0.0/9"), IPBlock("10.128.0.0/9"), IPBlock("10.1.0.0/16")]
    ) == from_blocks([IPBlock("10.0.0.0/8")])


def test_an_exception_narrows_its_own_block_alone() -> None:
    both = from_blocks([IPBlock("10.0.0.0/8", ("10.1.0.0/16",)), IPBlock("10.1.2.0/24")])
    assert ip_address("10.1.2.3").packed in both
    assert ip_address("10.1.3.3").packed not in both


def test_the_whole_of_a_family_is_one_range() -> None:
    whole = from_blocks([IPBlock("0.0.0.0/0")])
    assert whole.v4 == ((0, LAST),)
    assert not whole.v6
    assert whole.members.v4 == bytes(4) + b"\xff" * 4


def test_what_is_no_block_has_nothing() -> None:
    assert not from_blocks([IPBlock("10.0.0.0/33"), IPBlock("10.0.0.0/8", ("everything",)), IPBlock()])


def test_equal_addresses_have_one_name_however_they_are_written() -> None:
    halves = from_blocks([IPBlock("10.0.0.0/25"), IPBlock("10.0.0.128/25")])
    assert halves.hash == from_blocks([IPBlock("10.0.0.0/24")]).hash != Ranges().hash


def test_many_blocks_are_cheap_cilium_19279_41121() -> None:
    """Nothing is quadratic here."""
    many = [IPBlock(f"10.{one >> 8}.{one & 255}.0/25") for one in range(12_000)]
    assert len(from_blocks(many).v4) == 12_000
