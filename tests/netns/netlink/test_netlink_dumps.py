"""Reading tables of the real kernel: torn dumps, long tables, entries that others made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quilt_netlink import (
    Create,
    DumpInterruptedError,
    FdbEntry,
    Kernel,
    Link,
    Neighbour,
    Nexthop,
    Op,
    Route,
)
from quilt_netlink.channel import Channel, Consumer
from quilt_netlink.tables import TABLES, Narrow
from tests.support.netlink_parts import device, peer  # noqa: F401  # a fixture is used by being there

MANY = 3000  # enough for several datagrams


class Disturbed(Channel):
    """A channel during whose dumps something happens after the first datagram."""

    def disturb(self, action: Callable[[], None]) -> None:
        self.action = action
        self.dumps = 0

    def dump(self, message: bytes, consume: Consumer) -> None:
        self.dumps += 1
        datagrams = 0

        def consume_and_disturb(view: memoryview, size: int, seq: int) -> bool:
            nonlocal datagrams
            datagrams += 1
            if datagrams == 1:
                self.action()
            return consume(view, size, seq)

        super().dump(message, consume_and_disturb)


@pytest.fixture
def disturbed(netns: Any, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setattr("quilt_netlink.kernel.Channel", Disturbed)
    return netns.kernel()  # type: ignore[no-any-return]


def many_nexthops(index: int) -> list[Op]:
    return [Create(Nexthop(n, index, f"10.{n >> 8}.{n & 255}.1", 81)) for n in range(1, MANY + 1)]


@pytest.mark.kernel
def test_field_bug_13_a_torn_dump_is_read_again(kernel: Kernel, device: int, disturbed: Kernel) -> None:  # noqa: F811
    assert kernel.apply(many_nexthops(device)) == []
    channel = disturbed._channel
    assert isinstance(channel, Disturbed)
    once = [Create(Nexthop(MANY + 1, device, "10.200.0.1", 81))]
    channel.disturb(lambda: kernel.apply([once.pop()]) if once else None)
    found = disturbed.nexthops(81)
    assert channel.dumps == 2
    assert sorted(nexthop.id for nexthop in found) == list(range(1, MANY + 2))
    disturbed.close()


def test_field_bug_13_a_table_that_never_holds_still_is_not_read(
    kernel: Kernel,
    device: int,  # noqa: F811
    disturbed: Kernel,
) -> None:
    assert kernel.apply(many_nexthops(device)) == []
    channel = disturbed._channel
    assert isinstance(channel, Disturbed)
    ids = iter(range(MANY + 1, MANY + 100))
    channel.disturb(lambda: kernel.run(Create(Nexthop(next(ids), device, "10.200.0.1", 81))))
    with pytest.raises(DumpInterruptedError, match="the dump of nexthops was interrupted 8 times"):
        disturbed.nexthops(81)
    disturbed.close()


def test_field_bug_12_long_tables_of_both_families(kernel: Kernel, device: int) -> None:  # noqa: F811
    """Permanent neighbours are not held to the neighbour table's threshold of 1,024."""
    ops: list[Op] = []
    for n in range(1, MANY + 1):
        mac = f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}"
        v4, v6 = f"10.{n >> 8}.{n & 255}.0", f"fd42:{n:x}::"
        ops += [Create(Neighbour(device, v4, mac)), Create(Neighbour(device, v6, mac))]
        ops += [Create(FdbEntry(device, mac, f"198.18.{n >> 8}.{n & 255}"))]
        ops += [Create(Nexthop(n, device, v4, 81)), Create(Nexthop(100_000 + n, device, v6, 81))]
        ops += [Create(Route(f"{v4}/24", 81, nhid=n)), Create(Route(f"{v6}/64", 81, nhid=100_000 + n))]
    assert kernel.apply(ops) == []
    wanted = {op.entry for op in ops}
    found = [*kernel.neighbours(device), *kernel.fdb(device), *kernel.nexthops(81), *kernel.routes(81)]
    assert len(found) == len(wanted)
    assert set(found) == wanted


@pytest.mark.kernel
def test_what_others_modified_does_not_count_as_our_own(kernel: Kernel, device: int, netns: Any) -> None:  # noqa: F811
    assert kernel.apply([*peer(device, 2), *peer(device, 3)]) == []
    netns.run(
        "ip",
        "neigh",
        "replace",
        "10.42.2.0",
        "lladdr",
        "02:00:00:00:02:00",
        "dev",
        "vxlan100",
        "nud",
        "stale",
    )
    netns.run(
        "bridge", "fdb", "replace", "02:00:00:00:02:00", "dev", "vxlan100", "dst", "198.18.0.2", "port", "99"
    )
    netns.run("ip", "route", "replace", "blackhole", "10.42.2.0/24")
    assert kernel.neighbours(device) == [Neighbour(device, "10.42.3.0", "02:00:00:00:03:00")]
    assert set(kernel.fdb(device)) == {
        FdbEntry(device, "02:00:00:00:02:00", "198.18.0.2 port 99"),
        FdbEntry(device, "02:00:00:00:03:00", "198.18.0.3"),
    }
    assert kernel.routes() == [Route("10.42.3.0/24", 81, nhid=3)]
    assert kernel.apply(peer(device, 2)[:2] + peer(device, 2)[3:]) == []
    assert len(kernel.neighbours(device)) == len(kernel.routes()) == 2
    assert FdbEntry(device, "02:00:00:00:02:00", "198.18.0.2") in kernel.fdb(device)


@pytest.mark.kernel
def test_the_tables_of_others_are_read_too(kernel: Kernel, device: int, netns: Any) -> None:  # noqa: F811
    netns.run("ip", "address", "add", "192.0.2.1/24", "dev", "vxlan100")
    netns.run("ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.9", "metric", "50", "proto", "bird")
    netns.run("ip", "nexthop", "add", "id", "7", "blackhole")
    netns.run("ip", "nexthop", "add", "id", "8", "dev", "vxlan100", "via", "192.0.2.9")
    netns.run("ip", "nexthop", "add", "id", "9", "group", "8")
    bird = Route("198.51.100.0/24", 12, ifindex=device, gateway="192.0.2.9", metric=50)
    assert kernel.routes(protocol=12) == [bird]
    assert {nexthop.id: nexthop.ifindex for nexthop in kernel.nexthops()} == {7: 0, 8: device, 9: 0}
    assert kernel.nexthops(protocol=81) == []


def test_many_links(kernel: Kernel) -> None:
    for number in range(300):
        kernel.run(Create(Link(f"d{number}", kind="bridge")))
    assert len(kernel.links()) == 301


def test_a_dump_that_its_reader_gave_up_does_not_block_the_next(kernel: Kernel, device: int) -> None:  # noqa: F811
    assert kernel.apply(many_nexthops(device)) == []

    def give_up(view: memoryview, size: int, seq: int) -> bool:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError):
        kernel._channel.dump(*TABLES[Nexthop].requests(Narrow()), give_up)
    assert len(kernel.nexthops()) == MANY
