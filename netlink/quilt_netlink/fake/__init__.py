"""An in-memory kernel with faults that happen once when asked for, for tests of those who use the library."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any, Literal, TypeVar, get_args

from msgspec.structs import replace

from quilt_netlink.fake.machine import Machine
from quilt_netlink.monitor import MonitorLike
from quilt_netlink.ops import ANSWERS_LOST, Create, DumpInterruptedError, Failure, NetlinkError, Op, attempt
from quilt_netlink.state import BridgeFdbEntry, Change, Link, Nexthop, Observed, Route, Unreachable
from quilt_netlink.tables import TABLES, Narrow

T = TypeVar("T")
Fault = Literal["dump_interrupted", "overrun", "eexist", "enodev", "eperm", "partial_batch"]
_REFUSALS: dict[Fault, int] = {"eperm": errno.EPERM, "enodev": errno.ENODEV, "eexist": errno.EEXIST}


class FakeKernel(Machine):
    """A stateful stand-in for Kernel (see KernelLike), for tests.

    Faults, each happening once: `dump_interrupted` the next read of a table raises; `overrun` the next change
    is not notified, the monitors overrun; `eexist` the next Create is refused; `enodev`, `eperm` the next
    write is refused; `partial_batch` half of the next batch is not done, its outcome reported as unknown
    (ENOBUFS). Without `nexthop_objects` it is a kernel before 5.3: what concerns them is refused
    (EOPNOTSUPP). `writes` counts the operations that were done, so that a test can say that there were none.
    """

    def __init__(self, links: Sequence[Link] = (), *, nexthop_objects: bool = True) -> None:
        super().__init__()
        self._nexthop_objects = nexthop_objects
        self._faults: set[Fault] = set()
        self._monitors: list[FakeMonitor] = []
        self.writes = 0
        for link in (Link("lo", mac="00:00:00:00:00:00", mtu=65536), *links):
            self._add(link)

    def inject(self, fault: Fault) -> None:
        """Let a fault happen at the next occasion."""
        if fault not in get_args(Fault):
            raise ValueError(f"there is no fault {fault!r}, only {', '.join(get_args(Fault))}")
        self._faults.add(fault)

    @property
    def pending_faults(self) -> frozenset[Fault]:
        """The faults that did not happen yet; a test asserts that this is empty."""
        return frozenset(self._faults)

    def join(self, descriptor: int, other: FakeKernel) -> None:
        """Let `descriptor`, as a link's `netns_fd`, mean the namespace of `other`."""
        self._namespaces[descriptor] = other

    def monitor(self) -> FakeMonitor:
        """Watch this kernel; needs a running event loop."""
        monitor = FakeMonitor()
        self._monitors.append(monitor)
        return monitor

    def close(self) -> None:
        """Do nothing: the state is this object."""

    def _read(self, kind: type[T], narrow: Narrow) -> list[T]:
        if self._hit("dump_interrupted"):
            raise DumpInterruptedError(TABLES[kind].what, 1)
        self._check(kind)
        found: list[Any] = self._all(kind)
        if kind is Link:
            found = list(self._links.values())
        elif kind is BridgeFdbEntry:
            links = self._links.values()  # here a bridge knows its own MAC and its ports'
            found = [BridgeFdbEntry(link.mac, link.index, link.master or link.index) for link in links]
        elif kind is Route:
            found += self._connected()
            device = narrow.ifindex
            found = [route for route in found if device in (0, self._expand(route).ifindex)]
        return found

    def nexthop(self, number: int) -> Nexthop | None:
        """Return the nexthop object with this id, or None."""
        return next((entry for entry in self.nexthops() if entry.id == number), None)

    def route_get(self, dst: str, *, fib_match: bool = False) -> Route | None:
        """Return the route of the longest prefix and lowest metric for `dst`."""
        address = ip_address(dst)
        entries: list[Route | Unreachable] = [*self.routes(), *self.unreachables()]
        found = [entry for entry in entries if address in ip_network(entry.prefix)]
        if not found:
            return None
        best = max(found, key=lambda entry: (ip_network(entry.prefix).prefixlen, -entry.metric))
        if isinstance(best, Unreachable):
            return None
        if fib_match:
            return best
        return replace(self._expand(best), prefix=str(ip_network(dst)), nhid=0)

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Do the operations in order and return those refused; a refused one never affects the others."""
        done = len(ops) // 2 if self._hit("partial_batch") else len(ops)
        return [
            failure
            for place, op in enumerate(ops)
            for failure in attempt(place, op, self._write if place < done else self._lose)
        ]

    def _lose(self, op: Op) -> None:
        raise NetlinkError(*ANSWERS_LOST)

    def _write(self, op: Op) -> None:
        for fault, number in _REFUSALS.items():
            if (fault != "eexist" or isinstance(op, Create)) and self._hit(fault):
                raise NetlinkError(number)
        self._check(type(op.entry))
        if isinstance(op.entry, Link):
            self._write_link(op)
        else:
            self._write_entry(op)
        self.writes += 1

    def _check(self, kind: type[Any]) -> None:
        if kind is Nexthop and not self._nexthop_objects:
            raise NetlinkError(errno.EOPNOTSUPP)

    def _hit(self, fault: Fault) -> bool:
        if fault not in self._faults:
            return False
        self._faults.discard(fault)
        return True

    def _notify(self, new: bool, entry: Observed) -> None:
        overrun = bool(self._monitors) and self._hit("overrun")
        for monitor in self._monitors:
            monitor.tell(*((monitor.overrun,) if overrun else (monitor.put, Change(new, entry))))


class FakeMonitor(MonitorLike):
    """The interface of Monitor on a FakeKernel."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()

    def tell(self, take: Callable[..., None], *change: Change) -> None:
        """Have a change, or an overrun, taken in; from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(take, *change)
