"""The kernel of one network namespace: typed reads, and writes in batches.

Operations become messages, refusals operations again. Entries are sent in batches, links one by one, in their
place among the others. An entry that cannot even be encoded (no such address) is refused like one that the
kernel refuses.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Self, TypeVar

from quilt_netlink import constants as c
from quilt_netlink import decode, links, messages, rules
from quilt_netlink.channel import Channel, Refusal, open_socket
from quilt_netlink.errors import NetlinkError
from quilt_netlink.interface import KernelLike
from quilt_netlink.messages import Message
from quilt_netlink.namespaces import socket_in
from quilt_netlink.ops import Create, Delete, Failure, Op
from quilt_netlink.reader import Make, read_table
from quilt_netlink.schema import rtmsg
from quilt_netlink.state import Link, Route
from quilt_netlink.tables import TABLES, Narrow
from quilt_netlink.writes import ENCODERS

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
        self._writer = Writer(self._channel)

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
            found = ask(self._channel, route_get(dst, fib_match=fib_match))
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
    """Ask for the interface with this name or index; None when it does not exist."""
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


def route_get(dst: str, *, fib_match: bool) -> bytes:
    """Encode the question how the kernel would send to an address."""
    v6 = ":" in dst
    fields = {
        "family": socket.AF_INET6 if v6 else socket.AF_INET,
        "dst_len": 128 if v6 else 32,
        "flags": c.RTM_F_FIB_MATCH if fib_match else 0,
    }
    return messages.encode(rtmsg, c.RTM_GETROUTE, c.NLM_F_REQUEST, fields, [("RTA_DST", dst)])


class Writer:
    """Applies operations over one channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Do the operations in order; return those refused, by their place."""
        failures: list[Failure] = []
        for many, places in groupby(range(len(ops)), lambda place: type(ops[place].entry) in ENCODERS):
            if many:
                failures += self._batch(ops, places)
            else:
                failures += filter(None, [self._single(ops[place], place) for place in places])
        return failures

    def _batch(self, ops: Sequence[Op], places: Iterable[int]) -> list[Failure]:
        """Write operations in one batch."""
        first = self._channel.number(len(ops))
        messages, sent, found = encode(ops, places, first)
        refused = self._channel.batch(messages, first)
        found += [_failure(sent[number], ops[sent[number]], refusal) for number, refusal in refused.items()]
        return sorted(found, key=lambda failure: failure.index)

    def _single(self, op: Op, place: int) -> Failure | None:
        try:
            if not isinstance(op.entry, Link):
                raise NetlinkError(errno.EOPNOTSUPP, f"cannot write a {type(op.entry).__name__}")
            self._link(op, op.entry)
        except NetlinkError as error:
            return _failure(place, op, (error.errno or errno.EIO, error.message))
        except (OSError, ValueError, struct.error) as error:
            return _invalid(place, op, error)
        return None

    def _link(self, op: Op, link: Link) -> None:
        now = read_link(self._channel, link.index or link.name)
        if isinstance(op, Delete):
            if now is None:
                raise NetlinkError(errno.ENODEV, f"there is no interface {link.name or link.index}")
            self._channel.request(links.delete(now.index))
        elif now is None and link.index:
            raise NetlinkError(errno.ENODEV, f"there is no interface with index {link.index}")
        elif now is None or isinstance(op, Create):
            self._create(link)
        elif link.kind and link.kind != now.kind:
            text = f"{now.name} is a {now.kind or 'physical'} interface, not a {link.kind}: delete it first"
            raise NetlinkError(errno.EEXIST, text)
        else:
            self._change(link, now)

    def _create(self, link: Link) -> None:
        self._channel.request(links.create(link))
        if not links.needs_finish(link) or link.netns_fd is not None:
            return
        made = read_link(self._channel, link.name)
        if made is None:
            raise NetlinkError(errno.ENODEV, f"{link.name} went away while it was being set up")
        try:
            self._change(link, made)
        except NetlinkError:
            self._channel.request(links.delete(made.index))
            raise

    def _change(self, link: Link, now: Link) -> None:
        for message in links.change(now.index, link, now):
            self._channel.request(message)


def encode(
    ops: Sequence[Op], places: Iterable[int], first: int
) -> tuple[list[bytes], list[int], list[Failure]]:
    """Encode the operations in these places, numbered from `first` on without a gap.

    Return the messages, the places of their operations, and the operations that cannot be encoded.
    """
    messages: list[bytes] = []
    sent: list[int] = []
    invalid: list[Failure] = []
    for place in places:
        op = ops[place]
        entry = op.entry
        try:
            messages.append(ENCODERS[type(entry)](type(op), entry, first + len(sent)))
            sent.append(place)
        except (OSError, ValueError, struct.error) as error:
            invalid.append(_invalid(place, op, error))
    return messages, sent, invalid


def _failure(place: int, op: Op, refusal: Refusal) -> Failure:
    number, text = refusal
    return Failure(place, op, number, text or os.strerror(number))


def _invalid(place: int, op: Op, error: Exception) -> Failure:
    return Failure(place, op, errno.EINVAL, f"not a valid {type(op.entry).__name__}: {error}")
