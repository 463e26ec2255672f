"""The kernel's own notifications, of every kind that we hold."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from quilt_netlink import (
    Address,
    BridgePort,
    Change,
    Create,
    Delete,
    Event,
    FdbEntry,
    Kernel,
    Link,
    Monitor,
    Neighbour,
    Netconf,
    Nexthop,
    NftTable,
    Overrun,
    Put,
    Route,
)
from quilt_netlink.nftsets import INET, NftSets, SetChange
from tests.support.netlink_parts import HOST, MAC, VXLAN, device, peer  # noqa: F401  # a fixture is used by being there


async def notified(monitor: Monitor, last: Callable[[Event], bool]) -> list[Event]:
    """Collect events up to and including one that is the last."""
    found: list[Event] = []
    async with asyncio.timeout(10):
        while not any(last(event) for event in found):
            found += await monitor.take_all()
    return found


def is_about(entry: Any, *, new: bool = True) -> Callable[[Event], bool]:
    return lambda event: event == Change(new, entry)


@pytest.mark.kernel
async def test_every_entry_of_a_peer_is_notified(kernel: Kernel, device: int, netns: Any) -> None:  # noqa: F811
    async with Monitor(netns_path=netns.path) as monitor:
        ops = peer(device)
        kernel.apply(ops)
        events = await notified(monitor, is_about(Route("10.42.2.0/24", 81, nhid=2)))
        assert events == [Change(True, op.entry) for op in ops]
        kernel.apply([Delete(op.entry) for op in reversed(ops)])
        neighbour = Neighbour(device, "10.42.2.0", "")  # the kernel forgets the MAC before it tells
        events = await notified(monitor, is_about(neighbour, new=False))
        assert events == [*(Change(False, op.entry) for op in reversed(ops[1:])), Change(False, neighbour)]


@pytest.mark.kernel
async def test_what_is_modified_in_place_is_notified(kernel: Kernel, device: int, netns: Any) -> None:  # noqa: F811
    kernel.apply(peer(device))
    async with Monitor(netns_path=netns.path) as monitor:
        netns.run("ip", "neigh", "replace", "10.42.2.0", "lladdr", MAC, "dev", "vxlan100", "nud", "stale")
        assert await monitor.take_all() == [Change(False, Neighbour(device, "10.42.2.0", MAC))]
        netns.run("bridge", "fdb", "replace", MAC, "dev", "vxlan100", "dst", "198.18.0.77")
        assert await monitor.take_all() == [Change(True, FdbEntry(device, MAC, "198.18.0.77"))]
        netns.run("ip", "nexthop", "replace", "id", "2", "via", "10.42.9.0", "dev", "vxlan100", "onlink")
        events = await notified(
            monitor, is_about(Route("10.42.2.0/24", 81, nhid=2))
        )  # notified for its nexthop's sake
        (nexthop,) = [event.entry for event in events if isinstance(event.entry, Nexthop)]  # type: ignore[union-attr]
        assert (nexthop.id, nexthop.gateway) == (2, "10.42.9.0")
        netns.run("ip", "route", "replace", "blackhole", "10.42.2.0/24", "proto", "81")
        assert await monitor.take_all() == [Change(False, Route("10.42.2.0/24", 81))]


@pytest.mark.kernel
async def test_links_and_addresses_are_notified(kernel: Kernel, netns: Any) -> None:
    async with Monitor(("link", "address"), netns_path=netns.path) as monitor:
        kernel.run(Create(VXLAN))
        link = kernel.link("vxlan100")
        assert link is not None
        await notified(monitor, is_about(link))
        kernel.run(Put(Address(link.index, "10.42.1.0/32")))
        assert await monitor.take_all() == [Change(True, Address(link.index, "10.42.1.0/32"))]
        kernel.run(Put(Link("vxlan100", mtu=1280, up=True)))
        await notified(
            monitor, lambda event: isinstance(event, Change) and getattr(event.entry, "mtu", 0) == 1280
        )
        kernel.run(Delete(Link("vxlan100")))
        gone = await notified(
            monitor, lambda event: isinstance(event, Change) and isinstance(event.entry, Link)
        )
        assert Change(False, Address(link.index, "10.42.1.0/32")) in gone


@pytest.mark.kernel
async def test_a_port_that_leaves_its_bridge_is_not_a_deleted_link(kernel: Kernel, netns: Any) -> None:
    kernel.run(Create(Link("quilt0", kind="bridge", up=True)))
    bridge = kernel.link("quilt0").index  # type: ignore[union-attr]
    kernel.run(Create(Link("q1", kind="veth", master=bridge, peer=Link("q2"))))
    async with Monitor(("link",), netns_path=netns.path) as monitor:
        kernel.run(Put(Link("q1", master=-1)))
        port = kernel.link("q1")
        events = await notified(monitor, lambda event: isinstance(event, Change) and event.entry == port)
        assert all(isinstance(event, Change) and event.new for event in events)


@pytest.mark.kernel
async def test_what_bridges_tell_of_their_ports_is_notified_where_asked_for(
    kernel: Kernel, netns: Any
) -> None:
    kernel.run(Create(Link("quilt0", kind="bridge", up=True)))
    bridge = kernel.link("quilt0").index  # type: ignore[union-attr]
    kernel.run(Create(Link("q1", kind="veth", master=bridge, hairpin=True, peer=Link("q2"))))
    port = BridgePort(kernel.link("q1").index, "q1")  # type: ignore[union-attr]
    async with Monitor(("link", "port"), netns_path=netns.path) as monitor:
        netns.run("bridge", "link", "set", "dev", "q1", "hairpin", "off")
        await notified(monitor, is_about(port))
        kernel.run(Put(Link("q1", master=-1)))
        await notified(monitor, is_about(port, new=False))


@pytest.mark.kernel
async def test_forwarding_switches_are_notified(netns: Any) -> None:
    async with Monitor(("netconf",), netns_path=netns.path) as monitor:
        netns.run("sysctl", "-qw", "net.ipv4.conf.lo.forwarding=1")
        await notified(monitor, is_about(Netconf(1)))


@pytest.mark.kernel
async def test_tables_of_nftables_are_notified_and_own_changes_are_passed_over(netns: Any) -> None:
    with closing(NftSets("mine", netns.path)) as sets:
        own = sets.port
        async with Monitor(("nftables",), netns.path, ignore_port=lambda port: port == own) as monitor:
            netns.run("nft", "-f", "-", stdin="table inet mine { set s { type ipv4_addr; }; }")
            assert await monitor.take_all() == [Change(True, NftTable(INET, "mine"))]
            sets.change([SetChange("s", ["198.18.0.2"], True)])
            netns.run("nft", "-f", "-", stdin="table ip other { chain c { }; }")
            assert await monitor.take_all() == [Change(True, NftTable(2, "other"))]
            netns.run("nft", "delete", "element", "inet", "mine", "s", "{ 198.18.0.2 }")
            assert await monitor.take_all() == [Change(True, NftTable(INET, "mine"))]
            netns.run("nft", "delete", "table", "ip", "other")
            assert await monitor.take_all() == [Change(True, NftTable(2, "other"))]


async def test_a_storm_on_one_entry_is_one_event(kernel: Kernel, device: int, netns: Any) -> None:  # noqa: F811
    async with Monitor(netns_path=netns.path) as monitor:
        for number in range(500):
            kernel.run(Put(FdbEntry(device, MAC, f"198.18.1.{number & 255}")))
        kernel.run(Put(FdbEntry(device, MAC, HOST)))
        events = await notified(monitor, is_about(FdbEntry(device, MAC, HOST)))
        assert len(events) <= 3


async def test_field_bug_13_lost_events_are_an_overrun(kernel: Kernel, device: int, netns: Any) -> None:  # noqa: F811
    async with Monitor(netns_path=netns.path) as monitor:
        monitor._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        kernel.apply([op for number in range(2, 250) for op in peer(device, number)])
        events = await notified(monitor, lambda event: isinstance(event, Overrun))
        assert isinstance(events[0], Overrun)
        kernel.run(Put(Neighbour(device, "10.99.0.0", MAC)))
        await notified(monitor, is_about(Neighbour(device, "10.99.0.0", MAC)))


async def test_waiting_ends_when_the_monitor_is_closed(netns: Any) -> None:
    monitor = Monitor(netns_path=netns.path)

    async def drain() -> list[Event]:
        return await monitor.take_all()

    task = asyncio.create_task(drain())
    await asyncio.sleep(0)
    monitor.close()
    monitor.close()
    assert await task == []


def test_a_missing_namespace_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        Kernel.open("/run/netns/there-is-no-such-namespace")
