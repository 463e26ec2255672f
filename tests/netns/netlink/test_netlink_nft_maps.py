"""Maps that jump, sets of intervals and of several fields, on the real kernel: as nft lists them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address
from typing import Any

import pytest

from quilt_netlink import NetlinkError
from quilt_netlink.nftsets import Element, Flush, NftSets, SetChange

pytestmark = pytest.mark.kernel

TABLE = """table inet t {
  map jumps { type ipv4_addr : verdict; }
  set pairs { type ipv6_addr . ipv6_addr; }
  set ranges { type ipv4_addr; flags interval; }
  set plain { type ipv6_addr; }
  set seen { typeof ip saddr; flags dynamic,timeout; timeout 5m; size 1024; }
  chain one { drop; }
  chain two { return; }
  chain base { type filter hook output priority 0; ip daddr vmap @jumps; ip daddr @ranges drop; }
  chain note { type filter hook output priority -10; add @seen { ip saddr }; }
}"""


def four(text: str) -> bytes:
    return IPv4Address(text).packed


@pytest.fixture
def sets(netns: Any) -> Iterator[tuple[NftSets, Any]]:
    netns.run("nft", "-f", "-", stdin=TABLE)
    with closing(NftSets("t", netns.path)) as opened:
        yield opened, netns


def listed(netns: Any, kind: str, name: str) -> str:
    return " ".join(netns.run("nft", "list", kind, "inet", "t", name).split())


def test_an_address_jumps_to_a_chain_and_to_another_in_one_transaction(sets: tuple[NftSets, Any]) -> None:
    opened, netns = sets
    first, second, key = Element(four("10.0.0.1"), "one"), Element(four("10.0.0.1"), "two"), four("10.0.0.1")
    opened.change([SetChange("jumps", [first], True)])
    assert "elements = { 10.0.0.1 : jump one }" in listed(netns, "map", "jumps")
    assert opened.elements("jumps") == {first}
    opened.change([SetChange("jumps", [first], True)])
    with pytest.raises(NetlinkError) as refused:
        opened.change([SetChange("jumps", [second], True)])
    assert refused.value.errno in (errno.EBUSY, errno.EEXIST)
    opened.change([SetChange("jumps", [key], False), SetChange("jumps", [second], True)])
    assert opened.elements("jumps") == {second}
    with pytest.raises(NetlinkError) as refused:
        opened.change([SetChange("jumps", [Element(key, "three")], True)])
    assert refused.value.errno == errno.ENOENT
    with pytest.raises(AssertionError, match="busy"):
        netns.run("nft", "delete", "chain", "inet", "t", "two")
    opened.change([SetChange("jumps", [key], False)])
    netns.run("nft", "delete", "chain", "inet", "t", "two")


def test_intervals_begin_and_end(sets: tuple[NftSets, Any]) -> None:
    opened, netns = sets
    some = [
        *(Element(four("10.0.0.0")), Element(four("10.0.1.0"), ends=True)),
        *(Element(four("10.0.2.5")), Element(four("10.0.2.8"), ends=True), Element(four("255.0.0.0"))),
    ]
    opened.change([SetChange("ranges", some, True)])
    text = listed(netns, "set", "ranges")
    assert "10.0.0.0/24, 10.0.2.5-10.0.2.7, 255.0.0.0/8" in text or "255.0.0.0-255.255.255.255" in text
    assert opened.elements("ranges") >= set(some)
    for address, is_in in (
        ("10.0.0.255", True),
        ("10.0.1.0", False),
        ("10.0.2.7", True),
        ("10.0.2.8", False),
        ("255.255.255.255", True),
    ):
        found = netns.run("sh", "-c", f"nft get element inet t ranges '{{ {address} }}' 2>&1 || true")
        assert ("elements" in found) == is_in, (address, found)
    other = [Element(four("10.0.0.128")), Element(four("10.0.0.129"), ends=True)]
    opened.change([Flush("ranges"), SetChange("ranges", other, True)])
    assert "elements = { 10.0.0.128 }" in listed(netns, "set", "ranges")


def test_keys_of_two_fields(sets: tuple[NftSets, Any]) -> None:
    opened, netns = sets
    key = (b"\xfd" + bytes(14) + b"\x05") * 2
    opened.change([SetChange("pairs", [key], True)])
    assert "elements = { fd00::5 . fd00::5 }" in listed(netns, "set", "pairs")
    assert opened.members("pairs") == {key}


def test_many_elements_of_several_sets_are_one_transaction(sets: tuple[NftSets, Any]) -> None:
    opened, _ = sets
    many = [bytes([0xFD, *bytes(11)]) + number.to_bytes(4) for number in range(20_000)]
    jumps = [Element(number.to_bytes(4), "one") for number in range(1, 5_001)]
    wrong = SetChange("jumps", [Element(bytes(4), "nowhere")], True)
    changes = [SetChange("plain", many, True), SetChange("jumps", jumps, True)]
    with pytest.raises(NetlinkError):
        opened.change([*changes, wrong])
    assert (opened.members("plain"), opened.members("jumps")) == (set(), set())
    opened.change(changes)
    assert (len(opened.members("plain")), opened.elements("jumps")) == (20_000, set(jumps))
    opened.change([SetChange("plain", many[1:], False), Flush("jumps")])
    assert (opened.members("plain"), opened.members("jumps")) == ({many[0]}, set())


def test_what_packets_put_into_a_set_is_flushed(sets: tuple[NftSets, Any]) -> None:
    opened, netns = sets
    netns.run("ip", "link", "set", "lo", "up")
    netns.run("ping", "-c1", "127.0.0.1")
    assert opened.members("seen") == {four("127.0.0.1")}
    opened.change([Flush("seen")])
    assert opened.members("seen") == set()
    opened.change([Flush("seen")])
