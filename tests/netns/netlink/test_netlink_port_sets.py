"""Sets of a bridge's ports, and the other end of a veth pair, on the real kernel."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from quilt_netlink import Create, Link, MulticastKernel, NetlinkError
from quilt_netlink.nftsets import BRIDGE, NftSets, SetChange, port_key

TABLE = """table bridge t {
  set four { type ifname . ether_addr . ipv4_addr; }
  set six { type ifname . ether_addr . ipv6_addr; }
  set pair { type ifname . ether_addr; }
}"""
MAC = "0a:58:0a:2a:01:05"


def test_keys_are_what_nft_reads_and_what_is_listed(netns: Any) -> None:
    netns.run("nft", "-f", "-", stdin=TABLE)
    wanted = {"four": "10.42.1.5", "six": "fd42::5", "pair": ""}
    keys = {name: port_key("qv0a2a0105", MAC, address) for name, address in wanted.items()}
    with closing(NftSets("t", netns.path, BRIDGE)) as sets:
        sets.change([SetChange(name, [key], True) for name, key in keys.items()])
        for name, address in wanted.items():
            listed = netns.run("nft", "list", "set", "bridge", "t", name)
            assert " . ".join(['"qv0a2a0105"', MAC, *([address] if address else [])]) in listed
            assert sets.members(name) == {keys[name]}
        sets.change([SetChange("four", [keys["four"]], False)])
        assert sets.members("four") == set()
        with pytest.raises(NetlinkError):
            sets.members("seven")


def test_more_members_than_one_datagram_holds(netns: Any) -> None:
    netns.run("nft", "-f", "-", stdin=TABLE)
    keys = [port_key("qv0a2a0105", MAC, f"fd42::{number:x}") for number in range(1, 1001)]
    with closing(NftSets("t", netns.path, BRIDGE)) as sets:
        for part in (keys[:500], keys[500:]):
            sets.change([SetChange("six", part, True)])
        assert sets.members("six") == set(keys)


def test_the_other_ends_mac_is_known_in_whatever_namespace_it_lies(make_netns: Callable[[], Any]) -> None:
    here, there = make_netns(), make_netns()
    descriptor = there.descriptor()
    with MulticastKernel.open(here.path) as kernel:
        kernel.run(Create(Link("far", "veth", peer=Link("eth0", mac=MAC, netns_fd=descriptor))))
        kernel.run(Create(Link("near", "veth", peer=Link("side", mac="02:00:00:00:00:09"))))
        kernel.run(Create(Link("bridge", "bridge")))
        macs = {name: kernel.peer_mac(name) for name in ("far", "near", "bridge", "absent")}
    os.close(descriptor)
    assert macs == {"far": MAC, "near": "02:00:00:00:00:09", "bridge": None, "absent": None}
