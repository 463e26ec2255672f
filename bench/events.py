"""Notifications of the kernel, by a blocking socket in this very thread, so that nothing delays the clock."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from quilt_netlink import Change, decode
from quilt_netlink.channel import open_socket, walk

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33
NEIGHBOURS, ROUTES, NEXTHOPS = 3, 7, 32
"""Groups of rtnetlink: neighbours and FDB entries, IPv4 routes, nexthop objects."""
_TIMEOUT = struct.pack("@ll", 10, 0)


class Listener:
    """Hears of changes in a namespace."""

    def __init__(self, netns: str, *groups: int) -> None:
        """Listen to groups, by default to all three; each notice costs time on a CPU that others may want."""
        self._sock = open_socket(netns_path=netns)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        self._sock.bind((0, 0))
        for group in groups or (NEIGHBOURS, ROUTES, NEXTHOPS):
            self._sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._buffer = memoryview(bytearray(1 << 18))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()

    def wait(self, wanted: Callable[[Change], bool]) -> float:
        """Return when (perf_counter) a wanted change first came; TimeoutError after 10 s of silence."""
        while True:
            try:
                size = self._sock.recv_into(self._buffer)
            except BlockingIOError as error:
                raise TimeoutError("the kernel notified no such change") from error
            now = time.perf_counter()
            if any(map(wanted, self._decoded(size))):
                return now

    def received(self) -> list[Change]:
        """Return what was received so far, and not waited for."""
        return [change for size in self._queued() for change in self._decoded(size)]

    def forget(self) -> int:
        """Throw away what was received so far; return how many datagrams that were."""
        return sum(1 for _ in self._queued())

    def _queued(self) -> Iterator[int]:
        """Take what waits into the buffer, a datagram at a time; yield its size."""
        while True:
            try:
                yield self._sock.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return

    def _decoded(self, size: int) -> list[Change]:
        messages = walk(self._buffer, size)
        found = [decode.change(kind, self._buffer, start, end) for kind, _, _, start, end in messages]
        return [change for change in found if change is not None]
