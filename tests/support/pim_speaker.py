"""A PIM router's voice and ear on a link: raw sockets, real packets."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from quilt_pim.core.pim import (
    Entry,
    Hello,
    JoinPrune,
    Message,
    build_hello,
    checksum,
    parse,
)
from quilt_pim.speakers import ALL_PIM_ROUTERS, IPPROTO_PIM, split

US = "10.9.0.1"
_CLONE_NEWNET = 0x40000000


def build_join_prune(message: JoinPrune) -> bytes:
    """The message; entries of one group are sent together, in order of first appearance."""
    groups = dict.fromkeys(entry.group for entry in (*message.joins, *message.prunes))
    body = b"\1\0" + socket.inet_aton(message.upstream)
    body += struct.pack("!BBH", 0, len(groups), message.holdtime)
    for group in groups:
        joins = [entry for entry in message.joins if entry.group == group]
        prunes = [entry for entry in message.prunes if entry.group == group]
        body += _prefixed(0, group) + struct.pack("!HH", len(joins), len(prunes))
        # Sparse, and where it applies wildcard and RPT.
        for entry in (*joins, *prunes):
            body += _prefixed(4 | entry.wildcard << 1 | entry.rpt, entry.source)
    return struct.pack("!BBH", 0x23, 0, checksum(b"\x23\0\0\0" + body)) + body


def _prefixed(flags: int, address: str) -> bytes:
    return struct.pack("!BBBB4s", 1, 0, flags, 32, socket.inet_aton(address))


@contextmanager
def entered(path: str) -> Iterator[None]:
    """Let this thread be in another network namespace: sockets made meanwhile belong to that one."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        assert libc.setns(there, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(home, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(there)
        os.close(home)


def until_up(*spaces: Any) -> None:
    """Wait until both ends of a link send: the one that came up first throws away what it is given until the
    kernel has found out that the other is there, too."""
    deadline = time.monotonic() + 20
    while not all("state UP" in space.run("ip", "link", "show", "eth1") for space in spaces):
        assert time.monotonic() < deadline, "the link does not come up"


class Speaker:
    """Sends from one address; `hear` waits for what the other side sends."""

    def __init__(self, address: str, interface: str = "eth1") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, IPPROTO_PIM)
        index = socket.if_nametoindex(interface)
        request = struct.pack("=4s4si", socket.inet_aton(ALL_PIM_ROUTERS), bytes(4), index)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        self._socket.bind((address, 0))
        self._socket.setblocking(False)
        # Bound to an address a raw socket hears only what is sent to it: listen with one of its own.
        self._ear = socket.socket(socket.AF_INET, socket.SOCK_RAW, IPPROTO_PIM)
        self._ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        self._ear.setblocking(False)

    def close(self) -> None:
        self._socket.close()
        self._ear.close()

    def send(self, message: bytes, to: str = ALL_PIM_ROUTERS) -> None:
        self._socket.sendto(message, (to, 0))

    def hello(self, holdtime: int = 105, priority: int | None = 1, generation: int | None = 7) -> None:
        self.send(build_hello(Hello(holdtime, priority, generation)))

    def join(
        self, group: str, source: str, *, upstream: str = US, wildcard: bool = False, holdtime: int = 210
    ) -> None:
        entry = Entry(group, source, wildcard, wildcard)
        self.send(build_join_prune(JoinPrune(upstream, joins=(entry,), holdtime=holdtime)))

    def prune(self, group: str, source: str, *, upstream: str = US) -> None:
        self.send(build_join_prune(JoinPrune(upstream, prunes=(Entry(group, source),))))

    async def hear(self, source: str = US) -> tuple[Message, int]:
        """The next message from an address, and the TTL it came with."""
        async with asyncio.timeout(15):
            while True:
                packet = await asyncio.get_running_loop().sock_recv(self._ear, 65535)
                parts = split(packet)
                if parts is not None and parts[0] == source:
                    return parse(parts[2]), packet[8]
