"""The kernel's own notifications, coalesced, those of flapping links damped.

Two things the kernel does not notify: a nexthop object's IPv4 routes are removed with it, and a device
that is deleted or set down so loses its nexthop objects and their IPv4 routes. A holder of nexthops and
routes must take the device's event for theirs.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from struct import Struct
from typing import Literal, Self

from quilt_netlink import constants as c
from quilt_netlink.channel import open_socket, set_queue, walk
from quilt_netlink.damping import LinkDamper
from quilt_netlink.event_decoder import decode_event
from quilt_netlink.event_queue import MonitorLike
from quilt_netlink.namespaces import socket_in
from quilt_netlink.state import BridgePort

Group = Literal["link", "port", "address", "neighbour", "route", "nexthop", "group", "netconf", "nftables"]
ALL_GROUPS: tuple[Group, ...] = ("link", "address", "neighbour", "route", "nexthop")
"""What a mesh rests on; `neighbour` includes the forwarding tables of VXLAN devices and bridges.

Besides can be watched `port` (what bridges tell of their ports), `group` (multicast members of bridges, group
entries of VXLAN devices), `netconf` (forwarding switches), and on a monitor of its own `nftables`.
"""

_NUMBERS: dict[Group, tuple[int, ...]] = {
    "link": (c.RTNLGRP_LINK,),
    "port": (c.RTNLGRP_LINK,),
    "address": (c.RTNLGRP_IPV4_IFADDR, c.RTNLGRP_IPV6_IFADDR),
    "neighbour": (c.RTNLGRP_NEIGH,),
    "route": (c.RTNLGRP_IPV4_ROUTE, c.RTNLGRP_IPV6_ROUTE),
    "nexthop": (c.RTNLGRP_NEXTHOP,),
    "group": (c.RTNLGRP_MDB,),
    "netconf": (c.RTNLGRP_IPV4_NETCONF, c.RTNLGRP_IPV6_NETCONF),
    "nftables": (c.NFNLGRP_NFTABLES,),
}
_TRUNCATED = int(socket.MSG_TRUNC)  # as an enumeration it would cost more than the receiving
_QUEUE = 32 << 20  # the echo of programming 10,000 peers, some 1.3 KB an event, read only afterwards
_BUFFER = 256 << 10
_READS_AT_ONCE = 256  # then the event loop gets its turn
_PORT = Struct("=12xI")


class Monitor(MonitorLike):
    """Changes of one network namespace: `async for event in monitor`, or `await monitor.take_all()`.

    `Overrun` means that events were lost and the state must be read again. Open the monitor before reading
    the state: what changes in between is then notified, never missed. Open it inside a running event loop.
    """

    def __init__(
        self,
        sock: socket.socket,
        groups: Iterable[Group] = ALL_GROUPS,
        ignore_port: Callable[[int], bool] | None = None,
    ) -> None:
        """Take over a netlink socket, possibly of another namespace, and subscribe to the groups.

        A change is passed over where `ignore_port` is true of the port of the socket it came about through.
        """
        super().__init__()
        self._sock = sock
        self._buffer = memoryview(bytearray(_BUFFER))
        self._ignore_port = ignore_port
        watched = set(groups)
        self._ports = "port" in watched
        sock.setblocking(False)
        if sock.getsockname()[0] == 0:
            sock.bind((0, 0))  # an unbound socket is sent no notifications
        set_queue(sock, c.SO_RCVBUFFORCE, socket.SO_RCVBUF, _QUEUE)
        for number in {number for group in watched for number in _NUMBERS[group]}:
            with suppress(OSError):  # a kernel without nexthop objects has no such group
                sock.setsockopt(c.SOL_NETLINK, c.NETLINK_ADD_MEMBERSHIP, number)
        self._loop = asyncio.get_running_loop()
        self._damper = LinkDamper(self._loop, self.put)
        self._loop.add_reader(sock.fileno(), self._read)

    @classmethod
    def open(
        cls,
        groups: Iterable[Group] = ALL_GROUPS,
        netns_path: str | None = None,
        ignore_port: Callable[[int], bool] | None = None,
    ) -> Self:
        """Watch this process' network namespace, or the one at a path (which needs SYS_ADMIN)."""
        groups = tuple(groups)
        protocol = c.NETLINK_NETFILTER if "nftables" in groups else socket.NETLINK_ROUTE
        sock = open_socket(protocol) if netns_path is None else socket_in(netns_path, protocol)
        return cls(sock, groups, ignore_port)

    def close(self) -> None:
        """Stop watching; an iteration ends after what it has not yet taken. Closing twice is allowed."""
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
            if flags & _TRUNCATED:
                self.overrun()
            else:
                self._take(self._buffer[:size])

    def _take(self, view: memoryview) -> None:
        for kind, _, _, start, end in walk(view, len(view)):
            if self._ignore_port is not None and self._ignore_port(_PORT.unpack_from(view, start)[0]):
                continue
            change = decode_event(kind, view, start, end)
            if change is not None and (self._ports or not isinstance(change.entry, BridgePort)):
                self._damper.put(change)
