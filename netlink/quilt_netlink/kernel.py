"""The kernel of one network namespace: typed reads, and writes in batches."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from functools import partial
from typing import Self, TypeVar

from quilt_netlink import decode, links, messages, rules, tables
from quilt_netlink.channel import Channel, open_socket
from quilt_netlink.errors import NetlinkError
from quilt_netlink.interface import KernelLike
from quilt_netlink.messages import Message
from quilt_netlink.namespaces import socket_in
from quilt_netlink.ops import Failure, Op
from quilt_netlink.reader import Make, read_table
from quilt_netlink.state import Link, Route
from quilt_netlink.tables import TABLES, Narrow
from quilt_netlink.writer import Writer

T = TypeVar("T")
_NAME_MAX = 15
_INDEX_MAX = 0x7FFFFFFF
# EOPNOTSUPP: a kernel without the address's family (`ipv6.disable=1`) has no route to it either.
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP)


class Kernel(KernelLike):
    """Typed reads and writes over one rtnetlink socket (see KernelLike); threads take turns."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over an AF_NETLINK/NETLINK_ROUTE socket; it works on the namespace that it was made in."""
        self._channel = Channel(sock)
        # Not self.link: a cycle would keep the channel's buffer until the collector comes by.
        self._writer = Writer(self._channel, partial(read_link, self._channel))

    @classmethod
    def open(cls, netns_path: str | None = None) -> Self:
        """Open this process' network namespace, or the one at a path (which needs SYS_ADMIN)."""
        return cls(open_socket() if netns_path is None else socket_in(netns_path))

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def link(self, key: str | int) -> Link | None:
        """Return the interface with this name or index, or None."""
        return read_link(self._channel, key)

    def _read(self, kind: type[T], narrow: Narrow) -> list[T]:
        table = TABLES[kind]
        found: list[T] = []
        for request in table.requests(narrow):
            found += read_table(self._channel, table.what, request, table.make, table.absent, narrow.but)
        return [entry for entry in found if isinstance(entry, kind)]

    def route_get(self, dst: str, *, fib_match: bool = False) -> Route | None:
        """Return how the kernel would send to `dst` now, or None when it has no route."""
        try:
            found = ask(self._channel, tables.route_get(dst, fib_match=fib_match))
        except NetlinkError as error:
            if error.errno in _NO_ROUTE:
                return None
            raise
        return decode.route(found, expand=not fib_match)

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Do the operations in order and return those refused; a refused one never affects the others."""
        return self._writer.apply(ops)

    def add_source_rule(self, rule: rules.SourceRule) -> None:
        """Make a rule, unless it is there."""
        try:
            self._channel.request(rules.create(rule))
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise

    def _table(
        self, what: str, request: bytes, make: Make[T], absent: tuple[int, ...] = (errno.ENODEV,)
    ) -> list[T]:
        return read_table(self._channel, what, request, make, absent)


def ask(channel: Channel, request: bytes) -> Message:
    """Return the one message that answers a request. Raises NetlinkError."""
    for answer in channel.request(request):
        found = messages.decode(memoryview(answer))
        if found is not None and messages.kind_of(answer) == messages.answer_to(request):
            return found
    raise NetlinkError(errno.EBADMSG, "the kernel answered with another message")


def ask_link(channel: Channel, key: str | int) -> Message | None:
    """Ask for the interface with this name or index; None when there is none."""
    if not _can_exist(key):
        return None
    try:
        return ask(channel, links.get(key))
    except NetlinkError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def read_link(channel: Channel, key: str | int) -> Link | None:
    """Return the interface with this name or index, or None."""
    found = ask_link(channel, key)
    return decode.link(found) if found else None


def _can_exist(key: str | int) -> bool:
    """Whether the kernel would look for such a link at all, rather than call the question invalid."""
    return 0 < len(key) <= _NAME_MAX if isinstance(key, str) else 0 < key <= _INDEX_MAX
