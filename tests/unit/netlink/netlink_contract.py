"""What a kernel does, said once and tested on the real one and on the one in memory.

A subclass provides the fixtures `kernel` (loopback up, nothing else) and `other` (a second such kernel with a
descriptor that stands for its namespace).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from quilt_netlink import (
    ADDRGENMODE_NONE,
    DETACH,
    SCOPE_LINK,
    Address,
    BridgeFdbEntry,
    Create,
    Delete,
    FdbEntry,
    KernelLike,
    Link,
    Neighbour,
    NetlinkError,
    Nexthop,
    Op,
    Put,
    Route,
    Vxlan,
)

MAC = "02:00:00:00:02:00"
HOST = "198.18.0.2"
Other = tuple[KernelLike, int]

VXLAN = Link(
    "vxlan100",
    kind="vxlan",
    mac="02:00:00:00:00:01",
    mtu=1400,
    up=True,
    addrgenmode=ADDRGENMODE_NONE,
    vxlan=Vxlan(100, 4789, "198.18.0.1"),
)


def peer(index: int, number: int = 2) -> list[Op]:
    """The four entries of a peer, in the order in which they are added."""
    vtep = f"10.42.{number}.0"
    mac = f"02:00:00:00:{number:02x}:00"
    return [
        Put(Neighbour(index, vtep, mac)),
        Put(FdbEntry(index, mac, f"198.18.0.{number}")),
        Create(Nexthop(number, index, vtep)),
        Put(Route(f"{vtep}/24", 81, nhid=number)),
    ]


def refusal(kernel: KernelLike, op: Op) -> int:
    failures = kernel.apply([op])
    assert [failure.op for failure in failures] == [op]
    assert failures[0].message
    return failures[0].errno


@pytest.fixture
def device(kernel: KernelLike) -> int:
    kernel.run(Create(VXLAN))
    link = kernel.link("vxlan100")
    assert link is not None
    return link.index


class KernelContract:
    def test_a_vxlan_device_reads_back_as_it_was_made(self, kernel: KernelLike, device: int) -> None:
        assert kernel.link("vxlan100") == replace(VXLAN, index=device)
        assert kernel.link(device) == kernel.link("vxlan100")
        assert replace(VXLAN, index=device) in kernel.links()

    def test_mac_mtu_local_and_state_change_in_place(self, kernel: KernelLike, device: int) -> None:
        new = Vxlan(100, 4789, "198.18.0.9")
        wanted = replace(VXLAN, mac="02:00:00:00:00:09", mtu=1300, up=False, vxlan=new)
        kernel.run(Put(wanted))
        assert kernel.link("vxlan100") == replace(wanted, index=device)

    @pytest.mark.parametrize("vxlan", [Vxlan(101, 4789, "198.18.0.1"), Vxlan(100, 4790, "198.18.0.1")])
    def test_vni_and_port_do_not_change_in_place(self, kernel: KernelLike, device: int, vxlan: Vxlan) -> None:
        assert refusal(kernel, Put(replace(VXLAN, vxlan=vxlan))) == errno.EOPNOTSUPP
        assert kernel.link("vxlan100") == replace(VXLAN, index=device)

    def test_a_vni_and_port_belong_to_one_device(self, kernel: KernelLike, device: int) -> None:
        assert refusal(kernel, Create(replace(VXLAN, name="other"))) == errno.EEXIST
        assert kernel.link("other") is None

    def test_creating_what_is_there_is_refused(self, kernel: KernelLike, device: int) -> None:
        assert refusal(kernel, Create(Link("vxlan100", kind="bridge"))) == errno.EEXIST
        assert refusal(kernel, Put(Link("vxlan100", kind="bridge"))) == errno.EEXIST

    def test_a_link_is_renamed_by_its_index(self, kernel: KernelLike) -> None:
        kernel.run(Create(Link("before", kind="bridge")))
        index = kernel.link("before").index  # type: ignore[union-attr]
        kernel.run(Put(Link("after", index=index)))
        assert kernel.link("before") is None
        assert kernel.link("after").index == index  # type: ignore[union-attr]

    def test_a_missing_link(self, kernel: KernelLike) -> None:
        assert kernel.link("nothing") is None
        assert kernel.link(4242) is None
        assert kernel.link("a-name-that-is-far-too-long") is None
        assert refusal(kernel, Delete(Link("nothing"))) == errno.ENODEV
        assert refusal(kernel, Put(Link("nothing", index=4242))) == errno.ENODEV
        for read in (kernel.addresses, kernel.neighbours, kernel.fdb, kernel.bridge_fdb):
            assert read(4242) == []
        assert kernel.routes(ifindex=4242) == []

    def test_a_veth_end_goes_into_another_namespace(self, kernel: KernelLike, other: Other) -> None:
        inside, descriptor = other
        kernel.run(Create(Link("quilt0", kind="bridge", up=True)))
        bridge = kernel.link("quilt0").index  # type: ignore[union-attr]
        peer_end = Link("eth0", mac="02:00:00:00:20:01", mtu=1380, netns_fd=descriptor)
        pair = Link("q1", kind="veth", mtu=1380, up=True, master=bridge, hairpin=True, peer=peer_end)
        kernel.run(Create(pair))
        port, eth0 = kernel.link("q1"), inside.link("eth0")
        assert port is not None
        assert eth0 is not None
        assert (port.master, port.hairpin, port.mtu, port.up) == (bridge, True, 1380, True)
        assert (eth0.kind, eth0.mac, eth0.mtu, eth0.up) == ("veth", "02:00:00:00:20:01", 1380, False)
        assert kernel.link("eth0") is None
        assert BridgeFdbEntry(port.mac, port.index, bridge) in kernel.bridge_fdb(bridge)
        kernel.run(Delete(Link("q1")))
        assert inside.link("eth0") is None

    def test_a_port_leaves_its_bridge(self, kernel: KernelLike) -> None:
        kernel.run(Create(Link("quilt0", kind="bridge", up=True)))
        bridge = kernel.link("quilt0").index  # type: ignore[union-attr]
        kernel.run(Create(Link("q1", kind="veth", master=bridge, peer=Link("q2"))))
        kernel.run(Put(Link("q1", hairpin=True)))
        assert kernel.link("q1").hairpin is True  # type: ignore[union-attr]
        kernel.run(Put(Link("q1", master=DETACH)))
        port = kernel.link("q1")
        assert port is not None
        assert (port.master, port.hairpin) == (0, None)

    @pytest.mark.parametrize("address", ["10.42.1.1/24", "10.42.1.0/32", "fd42:1::1/64"])
    def test_addresses(self, kernel: KernelLike, device: int, address: str) -> None:
        entry = Address(device, address)
        kernel.run(Create(entry))
        kernel.run(Put(entry))
        assert refusal(kernel, Create(entry)) == errno.EEXIST
        assert entry in kernel.addresses(device)
        assert entry in kernel.addresses()
        kernel.run(Delete(entry))
        assert entry not in kernel.addresses(device)
        assert refusal(kernel, Delete(entry)) == errno.EADDRNOTAVAIL

    def test_an_address_brings_its_route_unless_told_not_to(self, kernel: KernelLike, device: int) -> None:
        kernel.run(Put(Address(device, "10.42.1.1/24")))
        route = Route("10.42.1.0/24", 2, ifindex=device, scope=SCOPE_LINK, prefsrc="10.42.1.1")
        assert kernel.routes(protocol=2) == [route]
        kernel.run(Delete(Address(device, "10.42.1.1/24")))
        kernel.run(Put(Address(device, "10.42.1.1/24", noprefixroute=True)))
        assert kernel.routes(protocol=2) == []

    @pytest.mark.parametrize("make", [lambda i: peer(i), lambda i: peer6(i)])
    def test_a_peer_is_put_and_removed(
        self, kernel: KernelLike, device: int, make: Callable[[int], list[Op]]
    ) -> None:
        ops = [op for op in make(device) if not (isinstance(op.entry, FdbEntry) and ":" in op.entry.dst)]
        assert kernel.apply(ops) == []
        neighbour, nexthop, route = ops[0].entry, ops[-2].entry, ops[-1].entry
        assert kernel.neighbours(device) == [neighbour]
        assert kernel.nexthops(protocol=81) == kernel.nexthops(ifindex=device) == [nexthop]
        assert kernel.routes(protocol=81) == [route]
        assert route in kernel.routes(ifindex=device)
        assert kernel.apply([Delete(op.entry) for op in reversed(ops)]) == []
        assert (kernel.neighbours(device), kernel.nexthops(), kernel.fdb(device)) == ([], [], [])

    def test_puts_replace_and_creates_do_not(self, kernel: KernelLike, device: int) -> None:
        assert kernel.apply(peer(device)) == []
        ops = [op for op in peer(device) if isinstance(op, Put)]
        assert kernel.apply(ops) == []
        for entry in (op.entry for op in peer(device)):
            assert refusal(kernel, Create(entry)) == errno.EEXIST
        moved: list[Op] = [
            Put(Neighbour(device, "10.42.2.0", "02:00:00:00:09:00")),
            Put(FdbEntry(device, MAC, "198.18.0.9")),
            Put(Nexthop(2, device, "10.42.9.0")),
        ]
        assert kernel.apply(moved) == []
        assert kernel.neighbours(device) == [moved[0].entry]
        assert kernel.fdb(device) == [moved[1].entry]
        assert kernel.nexthops() == [moved[2].entry]

    def test_removing_what_is_not_there(self, kernel: KernelLike, device: int) -> None:
        failures = kernel.apply([Delete(op.entry) for op in peer(device)])
        assert [failure.errno for failure in failures] == [
            errno.ENOENT,
            errno.ENOENT,
            errno.ENOENT,
            errno.ESRCH,
        ]
        assert all(failure.absent for failure in failures)

    def test_an_fdb_entry_is_removed_only_with_its_own_destination(
        self, kernel: KernelLike, device: int
    ) -> None:
        kernel.run(Put(FdbEntry(device, MAC, HOST)))
        kernel.run(Delete(FdbEntry(device, MAC, "198.18.0.77")))  # the kernel says nothing and does nothing
        assert kernel.fdb(device) == [FdbEntry(device, MAC, HOST)]
        kernel.run(Delete(FdbEntry(device, MAC, "")))
        assert kernel.fdb(device) == []

    def test_a_route_is_removed_only_with_its_own_protocol(self, kernel: KernelLike, device: int) -> None:
        kernel.run(Put(Route("10.42.7.0/24", 82, ifindex=device, scope=SCOPE_LINK)))
        foreign = Route("10.42.7.0/24", 81, ifindex=device, scope=SCOPE_LINK)
        assert refusal(kernel, Delete(foreign)) == errno.ESRCH
        assert kernel.routes(protocol=82) != []

    def test_a_route_needs_its_nexthop(self, kernel: KernelLike, device: int) -> None:
        with pytest.raises(NetlinkError, match="Nexthop id does not exist") as error:
            kernel.run(Put(Route("10.42.2.0/24", 81, nhid=9)))
        assert error.value.errno == errno.EINVAL
        assert error.value.op == Put(Route("10.42.2.0/24", 81, nhid=9))

    def test_a_nexthop_takes_its_routes_with_it(self, kernel: KernelLike, device: int) -> None:
        kernel.apply([*peer(device, 2), *peer(device, 3)])
        kernel.run(Delete(Nexthop(2, device)))
        assert [route.prefix for route in kernel.routes(protocol=81)] == ["10.42.3.0/24"]
        assert refusal(kernel, Delete(Route("10.42.2.0/24", 81, nhid=2))) == errno.ESRCH

    def test_a_device_that_goes_down_keeps_only_its_fdb(self, kernel: KernelLike, device: int) -> None:
        kernel.apply([Put(Address(device, "10.42.1.0/32")), *peer(device)])
        kernel.run(Put(Link("vxlan100", up=False)))
        assert (kernel.neighbours(device), kernel.nexthops(), kernel.routes(protocol=81)) == ([], [], [])
        assert kernel.fdb(device) == [FdbEntry(device, MAC, HOST)]
        assert kernel.addresses(device) == [Address(device, "10.42.1.0/32")]
        assert refusal(kernel, Create(Nexthop(2, device, "10.42.2.0"))) == errno.ENETDOWN
        assert refusal(kernel, Put(Route("10.42.2.0/24", 81, ifindex=device))) == errno.ENETDOWN

    def test_a_deleted_device_takes_everything_along(self, kernel: KernelLike, device: int) -> None:
        kernel.apply([Put(Address(device, "10.42.1.0/32")), *peer(device)])
        kernel.run(Delete(Link("vxlan100")))
        assert (kernel.neighbours(device), kernel.fdb(device), kernel.nexthops()) == ([], [], [])
        assert (kernel.routes(protocol=81), kernel.addresses(device)) == ([], [])

    def test_entries_on_a_missing_device(self, kernel: KernelLike) -> None:
        found = [refusal(kernel, op) for op in (*peer(4242)[:3], Put(Route("10.9.0.0/24", 81, ifindex=4242)))]
        assert found == [errno.ENODEV, errno.ENODEV, errno.EINVAL, errno.ENODEV]
        assert refusal(kernel, Put(Address(4242, "10.9.0.1/24"))) == errno.ENODEV

    def test_a_default_route_on_link(self, kernel: KernelLike, device: int) -> None:
        kernel.run(Put(Address(device, "10.42.1.7/32")))
        wanted = Route("0.0.0.0/0", 3, ifindex=device, gateway="10.42.1.1", onlink=True)
        assert refusal(kernel, Put(replace(wanted, onlink=False))) == errno.ENETUNREACH
        kernel.run(Put(wanted))
        assert kernel.routes() == [wanted]
        kernel.run(Delete(wanted))
        assert kernel.routes() == []

    def test_routes_are_told_apart_by_table_and_metric(self, kernel: KernelLike, device: int) -> None:
        routes = [
            Route("10.42.2.0/24", 81, ifindex=device, scope=SCOPE_LINK),
            Route("10.42.2.0/24", 81, ifindex=device, scope=SCOPE_LINK, metric=7),
            Route("10.42.2.0/24", 81, ifindex=device, scope=SCOPE_LINK, table=1000),
        ]
        assert kernel.apply([Create(route) for route in routes]) == []
        assert set(kernel.routes(81)) == set(routes[:2])
        assert kernel.routes(81, table=1000) == routes[2:]
        assert kernel.routes(82) == kernel.routes(table=77) == []

    def test_the_longest_prefix_answers(self, kernel: KernelLike, device: int) -> None:
        kernel.run(Put(Address(device, "10.42.1.0/32")))
        kernel.apply(peer(device))
        found = kernel.route_get("10.42.2.9")
        assert found is not None
        assert (found.prefix, found.ifindex, found.gateway) == ("10.42.2.9/32", device, "10.42.2.0")
        assert kernel.route_get("10.42.2.9", fib_match=True) == Route("10.42.2.0/24", 81, nhid=2)
        assert kernel.route_get("203.0.113.1") is None

    def test_bad_entries_do_not_spoil_the_others(self, kernel: KernelLike, device: int) -> None:
        ops: list[Op] = []
        for number in range(2, 202):
            ops += peer(device, number)
            if number % 2:
                ops.append(Put(Route(f"10.42.{number}.0/25", 81, nhid=5000 + number)))
            if number % 10 == 0:
                ops.append(Put(Neighbour(device, "not an address", MAC)))
        failures = kernel.apply(ops)
        assert [ops[failure.index] for failure in failures] == [failure.op for failure in failures]
        assert [failure.index for failure in failures] == sorted(failure.index for failure in failures)
        bad = [op for op in ops if "/25" in str(op) or "not an" in str(op)]
        assert [failure.op for failure in failures] == bad
        assert {failure.errno for failure in failures} == {errno.EINVAL}
        assert len(kernel.routes(81)) == len(kernel.fdb(device)) == len(kernel.neighbours(device)) == 200

    def test_links_and_entries_are_done_in_the_given_order(self, kernel: KernelLike) -> None:
        kernel.run(Create(VXLAN))
        index = kernel.link("vxlan100").index  # type: ignore[union-attr]
        ops: list[Op] = [
            *peer(index),
            Put(Link("vxlan100", up=False)),
            Create(Nexthop(3, index, "10.42.3.0")),
            Put(Link("vxlan100", up=True)),
            Create(Nexthop(4, index, "10.42.4.0")),
        ]
        assert [failure.index for failure in kernel.apply(ops)] == [5]
        assert [nexthop.id for nexthop in kernel.nexthops()] == [4]

    def test_an_empty_batch(self, kernel: KernelLike) -> None:
        assert kernel.apply([]) == []


def peer6(index: int) -> list[Op]:
    """An IPv6 peer over an IPv4 underlay."""
    return [
        Put(Neighbour(index, "fd42:2::", MAC)),
        Put(FdbEntry(index, MAC, HOST)),
        Create(Nexthop(6, index, "fd42:2::")),
        Put(Route("fd42:2::/64", 81, nhid=6)),
    ]
