"""What a kernel does, described once and tested on the real one and on the one in memory.

A subclass provides the fixtures `kernel` (loopback up, nothing else) and `other` (a second such kernel with a
descriptor that represents its namespace).
"""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from quilt_netlink import (
    SCOPE_LINK,
    Address,
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
    Unreachable,
)
from tests.support.netlink_contract_links import LinkContract
from tests.support.netlink_parts import HOST, MAC, VXLAN, peer, peer6, refusal


class KernelContract(LinkContract):
    @pytest.mark.parametrize("make", [lambda i: peer(i), lambda i: peer6(i)])
    def test_a_peer_is_put_and_removed(
        self, kernel: KernelLike, device: int, make: Callable[[int], list[Op]]
    ) -> None:
        ops = [op for op in make(device) if not (isinstance(op.entry, FdbEntry) and ":" in op.entry.dst)]
        assert kernel.apply(ops) == []
        neighbour, nexthop, route = ops[0].entry, ops[-2].entry, ops[-1].entry
        assert kernel.neighbours(device) == [neighbour]
        assert kernel.nexthops(protocol=81) == kernel.nexthops(ifindex=device) == [nexthop]
        assert isinstance(nexthop, Nexthop)
        assert (kernel.nexthop(nexthop.id), kernel.nexthop(0x0BAD)) == (nexthop, None)
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
            Put(Nexthop(2, device, "10.42.9.0", 81)),
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

    def test_field_bug_7_an_fdb_entry_is_removed_only_with_its_own_destination(
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

    def test_routes_are_removed_with_their_nexthop(self, kernel: KernelLike, device: int) -> None:
        kernel.apply([*peer(device, 2), *peer(device, 3)])
        kernel.run(Delete(Nexthop(2, device)))
        assert [route.prefix for route in kernel.routes(protocol=81)] == ["10.42.3.0/24"]
        assert refusal(kernel, Delete(Route("10.42.2.0/24", 81, nhid=2))) == errno.ESRCH

    def test_a_device_set_down_keeps_only_its_fdb(self, kernel: KernelLike, device: int) -> None:
        kernel.apply([Put(Address(device, "10.42.1.0/32")), *peer(device)])
        kernel.run(Put(Link("vxlan100", up=False)))
        assert (kernel.neighbours(device), kernel.nexthops(), kernel.routes(protocol=81)) == ([], [], [])
        assert kernel.fdb(device) == [FdbEntry(device, MAC, HOST)]
        assert kernel.addresses(device) == [Address(device, "10.42.1.0/32")]
        assert refusal(kernel, Create(Nexthop(2, device, "10.42.2.0"))) == errno.ENETDOWN
        assert refusal(kernel, Put(Route("10.42.2.0/24", 81, ifindex=device))) == errno.ENETDOWN

    def test_everything_is_removed_with_its_device(self, kernel: KernelLike, device: int) -> None:
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

    def test_routes_differ_by_table_and_metric(self, kernel: KernelLike, device: int) -> None:
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

    @pytest.mark.parametrize("prefix", ["10.42.0.0/16", "fd42::/48"])
    def test_an_unreachable_prefix_is_no_route_and_comes_after_all_routes(
        self, kernel: KernelLike, device: int, prefix: str
    ) -> None:
        refused = Unreachable(prefix, 81, metric=0xFFFFFFFF)
        address = prefix.partition("/")[0]
        for _ in range(2):
            assert kernel.apply([Put(refused)]) == []
        assert kernel.unreachables(protocol=81) == kernel.unreachables() == [refused]
        assert kernel.unreachables(protocol=82) == []
        assert kernel.routes(protocol=81) == []
        assert kernel.route_get(address) is None
        kernel.run(Put(Route(prefix, 81, ifindex=device, scope=0 if ":" in prefix else SCOPE_LINK)))
        found = kernel.route_get(address)
        assert found is not None
        assert found.ifindex == device
        assert refusal(kernel, Delete(replace(refused, protocol=82))) == errno.ESRCH
        assert kernel.apply([Delete(refused)]) == []
        assert refusal(kernel, Delete(refused)) == errno.ESRCH
        assert kernel.unreachables() == []

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
            Create(Nexthop(3, index, "10.42.3.0", 81)),
            Put(Link("vxlan100", up=True)),
            Create(Nexthop(4, index, "10.42.4.0", 81)),
        ]
        assert [failure.index for failure in kernel.apply(ops)] == [5]
        assert [nexthop.id for nexthop in kernel.nexthops()] == [4]

    def test_an_empty_batch(self, kernel: KernelLike) -> None:
        assert kernel.apply([]) == []
