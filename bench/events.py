"""Notifications of the kernel, by a blocking socket in this very thread, so that nothing delays the clock."""

from __future__ import annotations

import socket
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from quilt_netlink import Change, decode
from quilt_netlink.channel import open_socket, walk
from quilt_netlink.schema import nfsetelem
from quilt_netlink.shapes import HEADER

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33
NEIGHBOURS, ROUTES, NEXTHOPS = 3, 7, 32
"""Groups of rtnetlink: neighbours and FDB entries, IPv4 routes, nexthop objects."""
_TIMEOUT = struct.pack("@ll", 10, 0)
_NETLINK_NETFILTER, _NFTABLES = 12, 7
_NEW_ELEMENTS, _DEL_ELEMENTS = 0xA0C, 0xA0E
T = TypeVar("T")


class Notices(ABC, Generic[T]):
    """Hears of changes in a namespace."""

    def __init__(self, netns: str, protocol: int, groups: tuple[int, ...]) -> None:
        self._sock = open_socket(protocol, netns)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        self._sock.bind((0, 0))
        for group in groups:
            self._sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._buffer = memoryview(bytearray(1 << 18))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()

    def wait(self, wanted: Callable[[T], bool]) -> float:
        """Return when (perf_counter) a wanted change first came; TimeoutError after 10 s of silence."""
        while True:
            try:
                size = self._sock.recv_into(self._buffer)
            except BlockingIOError as error:
                raise TimeoutError("the kernel notified no such change") from error
            now = time.perf_counter()
            if any(map(wanted, self._decoded(size))):
                return now

    def received(self) -> list[T]:
        """Return what was received so far, and not waited for."""
        return [change for size in self._queued() for change in self._decoded(size)]

    def forget(self) -> None:
        """Throw away what was received so far."""
        for _ in self._queued():
            pass

    def _queued(self) -> Iterator[int]:
        """Take what waits into the buffer, a datagram at a time; yield its size."""
        while True:
            try:
                yield self._sock.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return

    @abstractmethod
    def _decoded(self, size: int) -> list[T]:
        """Return the changes in a datagram, the first bytes of the buffer."""


class Listener(Notices[Change]):
    """Hears of neighbours, FDB entries, routes and nexthop objects."""

    def __init__(self, netns: str, *groups: int) -> None:
        """Listen to groups, by default to all three; each notice costs time on a CPU that others may want."""
        super().__init__(netns, socket.NETLINK_ROUTE, groups or (NEIGHBOURS, ROUTES, NEXTHOPS))

    def _decoded(self, size: int) -> list[Change]:
        messages = walk(self._buffer, size)
        found = [decode.change(kind, self._buffer, start, end) for kind, _, _, start, end in messages]
        return [change for change in found if change is not None]


@dataclass(frozen=True, slots=True)
class ElementChange:
    """An element that came into a set or map of nftables (`new`), or left it."""

    new: bool
    set: str
    key: bytes


class ElementListener(Notices[ElementChange]):
    """Hears of elements of sets and maps; the kernel tells of a transaction when it holds."""

    def __init__(self, netns: str) -> None:
        super().__init__(netns, _NETLINK_NETFILTER, (_NFTABLES,))

    def _decoded(self, size: int) -> list[ElementChange]:
        found = []
        for kind, _, _, start, end in walk(self._buffer, size):
            if kind in (_NEW_ELEMENTS, _DEL_ELEMENTS):
                message = nfsetelem.read(self._buffer, start + HEADER.size, end)
                name = message["NFTA_SET_ELEM_LIST_SET"]
                found += [
                    ElementChange(
                        kind == _NEW_ELEMENTS, name, element["NFTA_SET_ELEM_KEY"]["NFTA_DATA_VALUE"]
                    )
                    for element in message.get("NFTA_SET_ELEM_LIST_ELEMENTS", ())
                ]
        return found
