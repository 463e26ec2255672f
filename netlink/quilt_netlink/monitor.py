"""The kernel's own notifications, one per entry: what matters is how it is now, not how it came there.

A storm on one entry costs one event, and the queue is bounded by the number of entries, not of changes.
Beyond a limit it gives up and says so (Overrun), which the consumer must be able to handle anyway.

A link that flaps would have everything read each time: its first changes are notified at once, then at most
two a second, and always how it is in the end. That it is gone is never held back.

Two things the kernel does not notify: a nexthop object's IPv4 routes are removed with it, and a device
that is deleted or set down so loses its nexthop objects and their IPv4 routes. A holder of nexthops and
routes must take the device's event for theirs.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from struct import Struct
from typing import Literal, Self

from quilt_netlink import constants as c
from quilt_netlink import decode
from quilt_netlink.channel import TRUNCATED, bind, open_socket, set_queue, walk
from quilt_netlink.state import BridgePort, Change, Event, Link, Overrun, key_of

Group = Literal["link", "port", "address", "neighbour", "route", "nexthop", "group", "netconf", "nftables"]
ALL_GROUPS: tuple[Group, ...] = ("link", "address", "neighbour", "route", "nexthop")
"""What a mesh rests on; `neighbour` includes the forwarding tables of VXLAN devices and bridges.

Besides can be watched `port` (what bridges tell of their ports), `group` (multicast members of bridges, group
entries of VXLAN devices), `netconf` (forwarding switches), and on a monitor of its own `nftables`.
"""

# RTNLGRP_*, for addresses, routes and switches of IPv4 and IPv6; NFNLGRP_NFTABLES
_NUMBERS: dict[Group, tuple[int, ...]] = {
    "link": (1,),
    "port": (1,),
    "address": (5, 9),
    "neighbour": (3,),
    "route": (7, 11),
    "nexthop": (32,),
    "group": (26,),
    "netconf": (24, 25),
    "nftables": (7,),
}
_QUEUE = 32 << 20  # the echo of programming 10,000 peers, some 1.3 KB an event, read only afterwards
_BUFFER = 256 << 10
_READS_AT_ONCE = 256  # then the event loop gets its turn
_PORT = Struct("=12xI")
BURST = 12.0
RATE = 2.0


class MonitorLike:
    """A coalescing queue with one consumer: `await monitor.take_all()`.

    It is filled from the consumer's event loop.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._pending: dict[Hashable, Event] = {}
        self._limit = limit
        self._filled = asyncio.Event()
        self._closed = False

    def put(self, change: Change) -> None:
        """Add a change; it replaces an untaken one of the same entry, at the end of the queue."""
        key = key_of(change.entry)
        self._pending.pop(key, None)
        self._pending[key] = change
        if len(self._pending) > self._limit:
            self.overrun()
        self._filled.set()

    def overrun(self) -> None:
        """Drop what is waiting and tell that it was dropped."""
        self._pending = {"overrun": Overrun()}
        self._filled.set()

    def close(self) -> None:
        """Let nobody wait any longer, once what is waiting was taken. Closing twice is allowed."""
        self._closed = True
        self._filled.set()

    async def take_all(self) -> list[Event]:
        """Wait for an event and return all that wait, oldest first; empty once the monitor is closed."""
        while not self._pending and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        taken, self._pending = self._pending, {}
        return list(taken.values())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Monitor(MonitorLike):
    """Changes of one network namespace, taken by `await monitor.take_all()`.

    `Overrun` means that events were lost and the state must be read again. Open the monitor before reading
    the state: what changes in between is then notified, never missed. Open it inside a running event loop.
    """

    def __init__(
        self,
        groups: Iterable[Group] = ALL_GROUPS,
        netns_path: str | None = None,
        ignore_port: Callable[[int], bool] | None = None,
    ) -> None:
        """Watch this process' network namespace, or the one at a path (which needs SYS_ADMIN).

        A change is passed over where `ignore_port` is true of the port of the socket it came about through.
        """
        super().__init__()
        watched = set(groups)
        protocol = c.NETLINK_NETFILTER if "nftables" in watched else socket.NETLINK_ROUTE
        self._sock = sock = open_socket(protocol, netns_path)
        self._buffer = memoryview(bytearray(_BUFFER))
        self._ignore_port = ignore_port
        self._ports = "port" in watched
        sock.setblocking(False)
        bind(sock)
        set_queue(sock, c.SO_RCVBUFFORCE, _QUEUE)
        for number in {number for group in watched for number in _NUMBERS[group]}:
            with suppress(OSError):  # a kernel without nexthop objects has no such group
                sock.setsockopt(c.SOL_NETLINK, c.NETLINK_ADD_MEMBERSHIP, number)
        self._loop = asyncio.get_running_loop()
        self._damper = LinkDamper(self._loop, self.put)
        self._loop.add_reader(sock.fileno(), self._read)

    def close(self) -> None:
        """Stop watching; what was not yet taken still can be. Closing twice is allowed."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
        super().close()

    def _read(self) -> None:
        for _ in range(_READS_AT_ONCE):
            try:
                size, _, flags, _ = self._sock.recvmsg_into([self._buffer])
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self.overrun()
                if error.errno != errno.ENOBUFS:
                    self.close()
                    raise
                continue
            if flags & TRUNCATED:
                self.overrun()
            else:
                self._take(self._buffer[:size])

    def _take(self, view: memoryview) -> None:
        for kind, _, _, start, end in walk(view, len(view)):
            if self._ignore_port is not None and self._ignore_port(_PORT.unpack_from(view, start)[0]):
                continue
            change = decode.change(kind, view, start, end)
            if change is not None and (self._ports or not isinstance(change.entry, BridgePort)):
                self._damper.put(change)


@dataclass(slots=True)
class _Seen:
    """A link's last state, how many flaps it has left, since when, and what is held back."""

    link: Link
    at: float
    left: float = BURST
    held: Change | None = None


class LinkDamper:
    """Passes changes on, those of flapping links later."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pass_on: Callable[[Change], None]) -> None:
        self._loop = loop
        self._pass_on = pass_on
        self._seen: dict[int, _Seen] = {}

    def put(self, change: Change) -> None:
        """Take a change."""
        if not (isinstance(change.entry, Link) and self._holds(change, change.entry)):
            self._pass_on(change)

    def _holds(self, change: Change, link: Link) -> bool:
        if not change.new:
            self._seen.pop(link.index, None)
            return False
        now = self._loop.time()
        seen = self._seen.get(link.index)
        if seen is None:
            self._seen[link.index] = _Seen(link, now)
            return False
        # The kernel also tells what we do not represent, a carrier lost and found: a flap too.
        flapped = link.up != seen.link.up or link == seen.link
        seen.left = min(BURST, seen.left + (now - seen.at) * RATE) - flapped
        seen.link, seen.at = link, now
        if seen.held is not None:
            seen.held = change
            return True
        if seen.left >= 0:
            return False
        seen.held = change
        self._loop.call_later(1 / RATE, self._release, link.index, seen)
        return True

    def _release(self, index: int, seen: _Seen) -> None:
        held, seen.held = seen.held, None
        seen.left = max(seen.left, 0.0)
        if held is not None and self._seen.get(index) is seen:
            self._pass_on(held)
