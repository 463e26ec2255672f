"""The kernel's routes without reading them each time: what was read stays true until we hear otherwise.

rtnetlink notifies inside the change itself, so once our socket is empty nothing happened that we do not know
of. Our own changes are filtered out in the kernel by their port id. What another program does to routes or
nexthop objects is taken in; what it does to a device that ours hang on (IPv4 routes go silently with it), and
whatever is not understood, makes the next call read anew.
"""

from __future__ import annotations

import errno
import socket
import struct

from quilt_netlink import Kernel, KernelLike, Link, NetlinkError
from quilt_runtime.core.routes import Tables
from quilt_runtime.kernel.routenews import RouteNews
from quilt_runtime.kernel.socketfilter import DROP, JUMP_EQUAL, KEEP, LOAD_WORD, as_loaded, attach

SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE = 1, 5, 7
RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP = 9, 11, 32
GROUPS = (
    RTNLGRP_LINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_NEXTHOP,
)
ABOUT_A_DEVICE = frozenset(
    {16, 17, 20, 21}
)  # RTM_NEWLINK, DELLINK, NEWADDR, DELADDR: their index is at byte 20
BUFFER = 1 << 16


class RouteView:
    """Owns the socket that routes are written through, and what is known of the kernel. Not for several
    threads.
    """

    def __init__(self) -> None:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        sock.bind((0, 0))
        self._news = _subscribe(sock.getsockname()[0])
        self.kernel = Kernel(sock)
        self._tables: Tables | None = None
        self._decode = RouteNews()
        # One for all: a new one for each look would be 16 pages of memory to map and give back.
        self._buffer = memoryview(bytearray(BUFFER))
        self._devices: set[int] = set()
        self._links: dict[str | int, Link] = {}

    def link(self, key: str | int) -> Link | None:
        """Return an interface by name or index, or None, as of the last `hear` or `tables`; what is not known
        since is asked of the kernel.
        """
        found = self._links.get(key) or self.kernel.link(key)
        if found is not None:
            self._links[key] = found
        return found

    def tables(self) -> tuple[Tables, bool]:
        """Return what the kernel holds, and whether it was read just now."""
        self.hear()
        if self._tables is not None:
            return self._tables, False
        self._tables = read_tables(self.kernel)
        self._devices = self._tables.devices()
        return self._tables, True

    def depend_on(self, ifindex: int) -> None:
        """Note a device that routes are being hung on."""
        self._devices.add(ifindex)

    def forget(self) -> None:
        """Read anew next time."""
        self._tables = None

    def close(self) -> None:
        """Close both sockets."""
        self._news.close()
        self.kernel.close()

    def hear(self) -> None:
        """Empty the socket, taking in what it has to say; tables that are no longer true are dropped."""
        while True:
            try:
                size = self._news.recv_into(self._buffer)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._links.clear()
                self._tables = None
                continue
            if not self._take(self._buffer[:size]):
                self._tables = None

    def _take(self, data: memoryview) -> bool:
        """Take in a datagram, which is of one kind; whether the tables are still true."""
        kind = struct.unpack_from("=H", data, 4)[0]
        if kind not in ABOUT_A_DEVICE:
            return self._tables is not None and self._decode.take(data, self._tables)
        self._links.clear()
        at = 0
        while at + 24 <= len(data):
            length = struct.unpack_from("=I", data, at)[0]
            if struct.unpack_from("=i", data, at + 20)[0] in self._devices:
                return False
            at += max((length + 3) & ~3, 16)
        return True


def read_tables(kernel: KernelLike) -> Tables:
    """Read routes and nexthop objects; raises NetlinkError."""
    try:
        nexthops, objects = kernel.nexthops(), True
    except NetlinkError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        nexthops, objects = [], False
    return Tables(kernel.routes(), nexthops, objects=objects)


def _subscribe(own_port: int) -> socket.socket:
    """Open a socket that hears of every change but those made through `own_port`."""
    news = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    news.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    # The port id in a message's header.
    attach(news, [(LOAD_WORD, 0, 0, 12), (JUMP_EQUAL, 0, 1, as_loaded(own_port, 4)), DROP, KEEP])
    news.bind((0, 0))
    for group in GROUPS:
        try:
            news.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        except OSError:
            if group != RTNLGRP_NEXTHOP:  # a kernel without nexthop objects tells nothing of them
                raise
    return news
