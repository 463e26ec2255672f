"""The kernel's own notifications, coalesced.

Two things the kernel does not tell: a nexthop object takes its IPv4 routes with it silently, and a device
that goes, or goes down, so takes its nexthop objects and their IPv4 routes. Whoever holds nexthops and routes
must take the device's event for theirs.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Literal, Self

from quilt_netlink import constants as c
from quilt_netlink import decode, links
from quilt_netlink.channel import open_socket, set_queue, walk
from quilt_netlink.event_queue import EventQueue
from quilt_netlink.events import Change, Event
from quilt_netlink.messages import decode as pyroute2_decode
from quilt_netlink.messages import ifaddrmsg, ifinfmsg
from quilt_netlink.namespaces import socket_in
from quilt_netlink.state import Observed, Route

Group = Literal["link", "address", "neighbour", "route", "nexthop"]
ALL_GROUPS: tuple[Group, ...] = ("link", "address", "neighbour", "route", "nexthop")
"""What can be watched; `neighbour` includes the forwarding tables of VXLAN devices and bridges."""

_NUMBERS: dict[Group, tuple[int, ...]] = {
    "link": (c.RTNLGRP_LINK,),
    "address": (c.RTNLGRP_IPV4_IFADDR, c.RTNLGRP_IPV6_IFADDR),
    "neighbour": (c.RTNLGRP_NEIGH,),
    "route": (c.RTNLGRP_IPV4_ROUTE, c.RTNLGRP_IPV6_ROUTE),
    "nexthop": (c.RTNLGRP_NEXTHOP,),
}
_ADD_MEMBERSHIP = 1
_QUEUE = 8 << 20
_BUFFER = 256 << 10
_READS_AT_ONCE = 256  # then the event loop gets its turn


class Monitor:
    """Changes of one network namespace: `async for event in monitor`, or `await monitor.take_all()`.

    `Overrun` means that events were lost and the state must be read again. Open the monitor before reading
    the state: what changes in between is then told, never missed. Open it inside a running event loop.
    """

    def __init__(self, sock: socket.socket, groups: Iterable[Group] = ALL_GROUPS) -> None:
        """Take over a netlink socket, possibly of another namespace, and subscribe to the groups."""
        self._sock = sock
        self._queue = EventQueue()
        self._buffer = memoryview(bytearray(_BUFFER))
        sock.setblocking(False)
        if sock.getsockname()[0] == 0:
            sock.bind((0, 0))  # an unbound socket is sent no notifications
        set_queue(sock, c.SO_RCVBUFFORCE, socket.SO_RCVBUF, _QUEUE)
        for group in groups:
            for number in _NUMBERS[group]:
                with suppress(OSError):  # a kernel without nexthop objects has no such group
                    sock.setsockopt(c.SOL_NETLINK, _ADD_MEMBERSHIP, number)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._read)

    @classmethod
    def open(cls, groups: Iterable[Group] = ALL_GROUPS, netns_path: str | None = None) -> Self:
        """Watch this process' network namespace, or the one at a path (which needs SYS_ADMIN)."""
        return cls(open_socket() if netns_path is None else socket_in(netns_path), groups)

    def close(self) -> None:
        """Stop watching; an iteration ends after what it has not yet taken. Closing twice is allowed."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
        self._queue.close()

    async def take_all(self) -> list[Event]:
        """Wait for an event and return all that wait, oldest first; empty once the monitor is closed."""
        return await self._queue.take_all()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._queue.take()
        if event is None:
            raise StopAsyncIteration
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        for _ in range(_READS_AT_ONCE):
            try:
                size, _, flags, _ = self._sock.recvmsg_into([self._buffer])
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._queue.overrun()
                if error.errno != errno.ENOBUFS:
                    self.close()
                    raise
                continue
            if flags & socket.MSG_TRUNC:
                self._queue.overrun()
                continue
            view = self._buffer[:size]
            for kind, _, _, start, end in walk(view, size):
                change = decode_event(kind, view, start, end)
                if change is not None:
                    self._queue.put(change)


def decode_event(kind: int, view: memoryview, start: int, end: int) -> Change | None:
    """Decode a notification; None for what is not about entries that we represent.

    An entry that is there but is no longer of the kind we mean (a neighbour not permanent, a route that is
    a blackhole now) is told as gone.
    """
    if kind in (c.RTM_NEWNEIGH, c.RTM_DELNEIGH):
        return _neighbour(kind == c.RTM_NEWNEIGH, view, start, end)
    if kind in (c.RTM_NEWROUTE, c.RTM_DELROUTE):
        return _route(kind == c.RTM_NEWROUTE, view, start, end)
    entry: Observed | None = None
    if kind in (c.RTM_NEWNEXTHOP, c.RTM_DELNEXTHOP):
        entry = decode.nexthop(view, start, end)
    elif kind in (c.RTM_NEWADDR, c.RTM_DELADDR):
        entry = links.decode_address(pyroute2_decode(ifaddrmsg, bytes(view[start:end])))
    elif kind in (c.RTM_NEWLINK, c.RTM_DELLINK) and view[start + 16] != c.AF_BRIDGE:
        # A bridge's own messages about a port have AF_BRIDGE: their DELLINK says that a port left the bridge.
        entry = links.decode_link(pyroute2_decode(ifinfmsg, bytes(view[start:end])))
    if entry is None:
        return None
    return Change(kind in (c.RTM_NEWNEXTHOP, c.RTM_NEWADDR, c.RTM_NEWLINK), entry)


def _neighbour(new: bool, view: memoryview, start: int, end: int) -> Change | None:
    entry = decode.neighbour(view, start, end)
    if entry is not None:
        return Change(new, entry)
    gone = decode.neighbour(view, start, end, any_state=True)
    return Change(False, gone) if gone is not None else None


def _route(new: bool, view: memoryview, start: int, end: int) -> Change | None:
    kind = view[start + 23]
    if kind != c.RTN_UNICAST and kind < c.RTN_BLACKHOLE:
        return None  # local, broadcast, anycast, multicast: the kernel's own
    entry = decode.route(view, start, end, any_kind=True)
    if not isinstance(entry, Route):
        return None
    if kind != c.RTN_UNICAST:
        return Change(False, replace(entry, nhid=0, ifindex=0, gateway=""))
    return Change(new, entry)
