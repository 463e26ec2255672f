"""FakeKernel: Kernel's interface on an imaginary namespace, with faults that happen once when asked for."""

from __future__ import annotations

import asyncio
import errno
import struct
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Literal, get_args

from msgspec.structs import replace

from quilt_netlink.errors import DumpInterruptedError, NetlinkError
from quilt_netlink.event_queue import EventStream
from quilt_netlink.events import Change
from quilt_netlink.fake.linkrules import LinkRules
from quilt_netlink.fake.machine import Machine, refuse
from quilt_netlink.interface import KernelLike
from quilt_netlink.ops import Create, Failure, Op
from quilt_netlink.state import (
    TABLE_MAIN,
    Address,
    BridgeFdbEntry,
    FdbEntry,
    Link,
    Neighbour,
    Nexthop,
    Observed,
    Route,
    Unreachable,
)

Fault = Literal["dump_interrupted", "overrun", "eexist", "enodev", "eperm", "partial_batch"]


class FakeKernel(KernelLike):
    """A stateful stand-in for Kernel (see KernelLike), for tests.

    Faults, each happening once: `dump_interrupted` the next read of a table raises; `overrun` the next change
    is not told, the monitors overrun; `eexist` the next Create is refused; `enodev`, `eperm` the next write
    is refused; `partial_batch` half of the next batch is not done, its outcome told as unknown (ENOBUFS).
    Without `nexthop_objects` it is a kernel before 5.3: what concerns them is refused (EOPNOTSUPP).
    `writes` counts the operations that were done, so that a test can say that there were none.
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

    def links(self) -> list[Link]:
        """Return all interfaces."""
        self._reading("links")
        return list(self._machine.links.values())

    def link(self, key: str | int) -> Link | None:
        """Return the interface with this name or index, or None."""
        return self._rules.find(key)

    def addresses(self, ifindex: int = 0) -> list[Address]:
        """Return all addresses of both families, of one interface or of all (0)."""
        self._reading("addresses")
        return [entry for entry in self._machine.all(Address) if ifindex in (0, entry.ifindex)]

    def neighbours(self, ifindex: int) -> list[Neighbour]:
        """Return the permanent neighbour entries of an interface, both families."""
        self._reading("neighbours")
        return [entry for entry in self._machine.all(Neighbour) if entry.ifindex == ifindex]

    def fdb(self, ifindex: int) -> list[FdbEntry]:
        """Return the permanent entries of a VXLAN device's own forwarding table."""
        self._reading("the FDB")
        return [entry for entry in self._machine.all(FdbEntry) if entry.ifindex == ifindex]

    def bridge_fdb(self, bridge: int) -> list[BridgeFdbEntry]:
        """Return the MACs that a bridge knows: here its own and its ports'."""
        self._reading("the bridge FDB")
        ports = [link for link in self._machine.links.values() if bridge in (link.master, link.index)]
        return [BridgeFdbEntry(link.mac, link.index, bridge) for link in ports]

    def nexthops(self, protocol: int = 0, ifindex: int = 0) -> list[Nexthop]:
        """Return nexthop objects, of one protocol number and one device where these are not 0."""
        self._reading("nexthops")
        self._need_nexthop_objects()
        found = self._machine.all(Nexthop)
        return [entry for entry in found if protocol in (0, entry.protocol) and ifindex in (0, entry.ifindex)]

    def routes(self, protocol: int = 0, table: int = TABLE_MAIN, ifindex: int = 0) -> list[Route]:
        """Return unicast routes of both families in a table, of one protocol and one device where not 0."""
        self._reading("routes")
        return [
            entry
            for entry in (*self._machine.all(Route), *self._machine.connected())
            if entry.table == table
            and protocol in (0, entry.protocol)
            and ifindex in (0, self._machine.expand(entry).ifindex)
        ]

    def unreachables(self, protocol: int = 0) -> list[Unreachable]:
        """Return unreachable prefixes of both families in the main table, of one protocol where not 0."""
        self._reading("routes")
        found = self._machine.all(Unreachable)
        return [entry for entry in found if entry.table == TABLE_MAIN and protocol in (0, entry.protocol)]

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

    def _reading(self, what: str) -> None:
        if self._hit("dump_interrupted"):
            raise DumpInterruptedError(what, 1)

    def _hit(self, fault: Fault) -> bool:
        if fault not in self._faults:
            return False
        self._faults.discard(fault)
        return True

    def _notify(self, new: bool, entry: Observed) -> None:
        overrun = bool(self._monitors) and self._hit("overrun")
        for monitor in self._monitors:
            monitor.tell(None if overrun else Change(new, entry))


class FakeMonitor(EventStream):
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
