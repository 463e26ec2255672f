"""FakeKernel: Kernel's interface on an imaginary namespace, with faults that happen once when asked for."""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any, Literal, TypeVar, get_args

from msgspec.structs import replace

from quilt_netlink.errors import DumpInterruptedError, NetlinkError
from quilt_netlink.event_queue import MonitorLike
from quilt_netlink.events import Change
from quilt_netlink.fake.linkrules import LinkRules
from quilt_netlink.fake.machine import Machine, refuse
from quilt_netlink.interface import KernelLike
from quilt_netlink.ops import Create, Failure, Op
from quilt_netlink.state import BridgeFdbEntry, Link, Nexthop, Observed, Route, Unreachable
from quilt_netlink.tables import TABLES, Narrow

T = TypeVar("T")
Fault = Literal["dump_interrupted", "overrun", "eexist", "enodev", "eperm", "partial_batch"]


class FakeKernel(KernelLike):
    """A stateful stand-in for Kernel (see KernelLike), for tests.

    Faults, each happening once: `dump_interrupted` the next read of a table raises; `overrun` the next change
    is not notified, the monitors overrun; `eexist` the next Create is refused; `enodev`, `eperm` the next
    write is refused; `partial_batch` half of the next batch is not done, its outcome reported as unknown
    (ENOBUFS). Without `nexthop_objects` it is a kernel before 5.3: what concerns them is refused
    (EOPNOTSUPP). `writes` counts the operations that were done, so that a test can say that there were none.
    """

    def __init__(self, links: Sequence[Link] = (), *, nexthop_objects: bool = True) -> None:
        self._nexthop_objects = nexthop_objects
        self._machine = Machine(self._notify)
        self._namespaces: dict[int, LinkRules] = {}
        self._rules = LinkRules(self._machine, self._namespaces)
        self._faults: set[Fault] = set()
        self._monitors: list[FakeMonitor] = []
        self.writes = 0
        self._rules.add(Link("lo", mac="00:00:00:00:00:00", mtu=65536))
        for link in links:
            self._rules.add(link)

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
        self._namespaces[descriptor] = other._rules

    def monitor(self) -> FakeMonitor:
        """Watch this kernel; needs a running event loop."""
        monitor = FakeMonitor()
        self._monitors.append(monitor)
        return monitor

    def close(self) -> None:
        """Do nothing: the state is this object."""

    def link(self, key: str | int) -> Link | None:
        """Return the interface with this name or index, or None."""
        return self._rules.find(key)

    def _read(self, kind: type[T], narrow: Narrow) -> list[T]:
        if self._hit("dump_interrupted"):
            raise DumpInterruptedError(TABLES[kind].what, 1)
        found: list[Any] = self._machine.all(kind)
        if kind is Link:
            found = list(self._machine.links.values())
        elif kind is Nexthop:
            self._need_nexthop_objects()
        elif kind is BridgeFdbEntry:
            links = self._machine.links.values()  # here a bridge knows its own MAC and its ports'
            found = [BridgeFdbEntry(link.mac, link.index, link.master or link.index) for link in links]
        elif kind is Route:
            found += self._machine.connected()
            device = narrow.ifindex
            found = [route for route in found if device in (0, self._machine.expand(route).ifindex)]
        return found

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
        return replace(self._machine.expand(best), prefix=str(ip_network(dst)), nhid=0)

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Do the operations in order and return those refused; a refused one never affects the others."""
        failures = []
        lost = len(ops) // 2 if self._hit("partial_batch") else len(ops)
        for place, op in enumerate(ops):
            try:
                if place >= lost:
                    raise refuse(errno.ENOBUFS, "answers were lost, the outcome is unknown")
                self._write(op)
            except NetlinkError as error:
                failures.append(Failure(place, op, error.errno or errno.EIO, error.message))
            except (OSError, ValueError, struct.error) as error:
                text = f"not a valid {type(op.entry).__name__}: {error}"
                failures.append(Failure(place, op, errno.EINVAL, text))
        return failures

    def _refuse_as_asked(self, op: Op) -> None:
        if self._hit("eperm"):
            raise refuse(errno.EPERM)
        if self._hit("enodev"):
            raise refuse(errno.ENODEV)
        if isinstance(op, Create) and self._hit("eexist"):
            raise refuse(errno.EEXIST)

    def _write(self, op: Op) -> None:
        self._refuse_as_asked(op)
        if isinstance(op.entry, Nexthop):
            self._need_nexthop_objects()
        if isinstance(op.entry, Link):
            self._rules.write(op, op.entry)
        else:
            self._machine.write(op)
        self.writes += 1

    def _need_nexthop_objects(self) -> None:
        if not self._nexthop_objects:
            raise refuse(errno.EOPNOTSUPP)

    def _hit(self, fault: Fault) -> bool:
        if fault not in self._faults:
            return False
        self._faults.discard(fault)
        return True

    def _notify(self, new: bool, entry: Observed) -> None:
        overrun = bool(self._monitors) and self._hit("overrun")
        for monitor in self._monitors:
            monitor.tell(None if overrun else Change(new, entry))


class FakeMonitor(MonitorLike):
    """The interface of Monitor on a FakeKernel."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()

    def tell(self, change: Change | None) -> None:
        """Hand over a change, or None for an overrun; from any thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._put, change)

    def _put(self, change: Change | None) -> None:
        if change is None:
            self.overrun()
        else:
            self.put(change)
