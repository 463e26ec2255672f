"""Tells what of the node's network may have changed, from the kernel's own notifications.

Two sockets: rtnetlink (links, addresses, netconf) and nftables. Messages are not decoded: which
interface or table a datagram speaks of is enough, as whoever is told reads the state itself. Lost messages
mean "everything".
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import sys
from collections.abc import Iterator

from quilt_netlink.nftsets import NETLINK_NETFILTER
from quilt_runtime.core.firewall import BRIDGE
from quilt_runtime.core.nftables import TABLE
from quilt_runtime.kernel.nft import made_here

SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_NETCONF = 1, 5, 24
RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_NETCONF = 9, 25
NFNLGRP_NFTABLES = 7
RTM_NEWNETCONF = 80
ABOUT_AN_ADDRESS = frozenset({20, 21})  # RTM_NEWADDR, RTM_DELADDR: the index of the interface is at byte 20

INTERFACES = re.compile(rb"(" + BRIDGE.encode() + rb"|qv[0-9a-f]{8})\0")
# In every nftables message about a table's contents the table's name is attribute 1.
# `filter` is iptables-nft's, whose FORWARD chain others give a policy DROP.
TABLES = tuple(struct.pack("=HH", 4 + len(name) + 1, 1) + name.encode() + b"\0" for name in (TABLE, "filter"))
BUFFER = 1 << 18
GROUPS = (
    RTNLGRP_LINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_NETCONF,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_NETCONF,
)


class Watch:
    """Collects what became dirty: interface names, sysctls, the nftables table. Use from one event loop."""

    def __init__(self) -> None:
        self.links: set[str] = set()
        self.sysctls = False
        self.firewall = False
        # What changed before the watch was open was told to nobody.
        self.everything = True
        self._woken = asyncio.Event()
        self._woken.set()
        self._route = _open(socket.NETLINK_ROUTE, GROUPS)
        self._netfilter = _open(NETLINK_NETFILTER, (NFNLGRP_NFTABLES,))
        loop = asyncio.get_running_loop()
        loop.add_reader(self._route, self._read, self._route, self._on_route)
        loop.add_reader(self._netfilter, self._read, self._netfilter, self._on_netfilter)

    def close(self) -> None:
        """Stop watching."""
        for sock in (self._route, self._netfilter):
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    async def wait(self, timeout_s: float) -> None:
        """Return when something became dirty, or after `timeout_s` seconds."""
        try:
            # Not wait_for: Python 3.11's loses a cancellation that comes with the event (CPython gh-86296).
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return

    def take(self) -> tuple[set[str], bool, bool, bool]:
        """Return and forget what is dirty: (interfaces, sysctls, firewall, everything)."""
        taken = (self.links, self.sysctls, self.firewall, self.everything)
        self.links, self.sysctls, self.firewall, self.everything = set(), *[False] * 3
        self._woken.clear()
        return taken

    def _read(self, sock: socket.socket, handle: object) -> None:
        try:
            data = sock.recv(BUFFER)
        except BlockingIOError:
            return
        except OSError:  # ENOBUFS: the queue overflowed
            self.everything = True
            self._woken.set()
            return
        if callable(handle):
            handle(data)
        if self.links or self.sysctls or self.firewall:
            self._woken.set()

    def _on_route(self, data: bytes) -> None:
        self.links.update(name.decode() for name in INTERFACES.findall(data))
        for at, kind, _ in _messages(data):
            self.sysctls = self.sysctls or kind == RTM_NEWNETCONF
            # Messages about IPv6 addresses do not name the interface.
            if kind in ABOUT_AN_ADDRESS and data[at + 16] == socket.AF_INET6 and _is_bridge(data, at):
                self.links.add(BRIDGE)

    def _on_netfilter(self, data: bytes) -> None:
        others = any(not made_here(port) for _, _, port in _messages(data))
        self.firewall = self.firewall or (others and any(table in data for table in TABLES))


def _open(family: int, groups: tuple[int, ...]) -> socket.socket:
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, family
    )
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind((0, 0))
    for group in groups:
        sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    return sock


def _is_bridge(data: bytes, at: int) -> bool:
    index = int.from_bytes(data[at + 20 : at + 24], sys.byteorder)
    try:
        return index == socket.if_nametoindex(BRIDGE)
    except OSError:
        return False


def _messages(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield where each message begins, its type and the port of the socket that it came about through."""
    at = 0
    while at + 16 <= len(data):
        length, kind, port = struct.unpack_from("=IH6xI", data, at)
        yield at, kind, port
        at += max((length + 3) & ~3, 16)
