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
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Self, TypeVar

from msgspec.structs import replace

from quilt_netlink import constants as c
from quilt_netlink import decode, links
from quilt_netlink.channel import Channel, open_socket
from quilt_netlink.interface import KernelLike
from quilt_netlink.ops import Append, Create, Delete, Failure, NetlinkError, Op, attempt, invalid
from quilt_netlink.schema import ifinfmsg, nhmsg, rtmsg
from quilt_netlink.shapes import BITS, GET, HEADER, Message, family_of
from quilt_netlink.state import (
    TABLE_LOCAL,
    FdbEntry,
    GroupEntry,
    Link,
    MulticastRoute,
    Nexthop,
    Route,
    Rule,
    VxlanGroup,
)
from quilt_netlink.tables import GROUPS, TABLES, Narrow
from quilt_netlink.writes import ENCODERS

T = TypeVar("T")
_NAME_MAX = 15
_LINK_FIELDS = HEADER.size + ifinfmsg.fixed.size
"""Where a link's attributes begin, of which there are dozens."""
_INDEX_MAX = 0x7FFFFFFF
# EOPNOTSUPP: a kernel without the address's family (`ipv6.disable=1`) has no route to it either.
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP)


class Kernel(KernelLike):
    """Typed reads and writes over one rtnetlink socket (see KernelLike); threads take turns."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over an AF_NETLINK/NETLINK_ROUTE socket; it works on the namespace that it was made in."""
        self._channel = Channel(sock)

    @classmethod
    def open(cls, netns_path: str | None = None) -> Self:
        """Open this process' network namespace, or the one at a path (which needs SYS_ADMIN)."""
        return cls(open_socket(netns_path=netns_path))

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def link(self, key: str | int) -> Link | None:
        """Return the interface with this name or index, or None."""
        found = self._ask_link(key)
        return decode.link(found) if found else None

    def index(self, name: str) -> int:
        """Return the index of the interface with this name, 0 where no interface has it."""
        index: int = self._ask_link(name, _LINK_FIELDS).get("index", 0)
        return index

    def nexthop(self, number: int) -> Nexthop | None:
        """Return the nexthop object with this id, or None."""
        try:
            return decode.nexthop(self._ask(nhmsg.encode(GET, {}, [("NHA_ID", number)])))
        except NetlinkError as error:
            if error.errno == errno.ENOENT:
                return None
            raise

    def route_get(self, dst: str, *, fib_match: bool = False) -> Route | None:
        """Return how the kernel would send to `dst` now, or None when it has no route.

        With `fib_match` an address of the host's own is shown as what it is, an entry of the local table.
        """
        family = family_of(dst)
        flags = c.RTM_F_FIB_MATCH if fib_match else 0
        fields = {"family": family, "dst_len": BITS[family], "flags": flags}
        try:
            found = self._ask(rtmsg.encode(GET, fields, [("RTA_DST", dst)]))
        except NetlinkError as error:
            if error.errno in _NO_ROUTE:
                return None
            raise
        if fib_match and found["type"] != c.RTN_UNICAST:
            own = decode.route(found, any_kind=True)
            return own and replace(own, table=TABLE_LOCAL)
        return decode.route(found, expand=not fib_match)

    def apply(self, ops: Sequence[Op]) -> list[Failure]:
        """Do the operations in order and return those refused; a refused one never affects the others."""
        failures: list[Failure] = []
        batched = [type(op.entry) in ENCODERS for op in ops]
        for many, places in groupby(range(len(ops)), batched.__getitem__):
            if many:
                failures += self._batch(ops, places)
            else:
                for place in places:
                    failures += attempt(place, ops[place], self._write_link)
        return failures

    def _batch(self, ops: Sequence[Op], places: Iterable[int]) -> list[Failure]:
        first = self._channel.number(len(ops))
        messages, sent, found = encode(ops, places, first)
        for number, (error, text) in self._channel.batch(messages, first).items():
            found.append(Failure(sent[number], ops[sent[number]], error, text or os.strerror(error)))
        return sorted(found, key=lambda failure: failure.index)

    def _read(self, kind: type[T], narrow: Narrow) -> list[T]:
        return [entry for entry in TABLES[kind].read(self._channel, narrow) if isinstance(entry, kind)]

    def _ask(self, request: bytes, end: int | None = None) -> Message:
        """Return the one message that answers a request, read up to `end`. Raises NetlinkError."""
        for answer in self._channel.request(request):
            found = decode.message(memoryview(answer), end=end)
            if found is not None and HEADER.unpack_from(answer)[1] == HEADER.unpack_from(request)[1] & ~3:
                return found
        raise NetlinkError(errno.EBADMSG, "the kernel answered with another message")

    def _ask_link(self, key: str | int, end: int | None = None) -> Message:
        """Ask for the interface with this name or index; empty when it does not exist."""
        # Whether the kernel would look for such a link at all, rather than call the question invalid.
        if not (0 < len(key) <= _NAME_MAX if isinstance(key, str) else 0 < key <= _INDEX_MAX):
            return {}
        try:
            return self._ask(links.get(key), end)
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return {}
            raise

    def _send(self, *requests: bytes) -> None:
        for request in requests:
            self._channel.request(request)

    def _create(self, link: Link) -> None:
        self._send(links.create(link))
        if not links.needs_finish(link) or link.netns_fd is not None:
            return
        made = self.link(link.name)
        if made is None:
            raise NetlinkError(errno.ENODEV, f"{link.name} went away while it was being set up")
        try:
            self._change(link, made)
        except NetlinkError:
            self._remove(made)
            raise

    def _change(self, link: Link, now: Link) -> None:
        self._send(*links.change(link, now))

    def _remove(self, link: Link) -> None:
        self._send(links.delete(link.index))


class MulticastKernel(Kernel):
    """A Kernel that also reads and writes group entries and a bridge's snooping.

    Apart from Kernel, as most of its users have nothing to do with multicast.
    """

    def groups(self) -> list[GroupEntry]:
        """Return every bridge's members and every VXLAN device's group entries."""
        found = GROUPS.read(self._channel, Narrow())
        return list(dict.fromkeys(entry for entries in found for entry in entries))

    def add_copies(self, entries: Sequence[VxlanGroup | FdbEntry]) -> list[Failure]:
        """Send a group's packets, or its MAC's, to one more destination each; one that is there is fine."""
        ops = [Append(entry) if isinstance(entry, FdbEntry) else Create(entry) for entry in entries]
        return [failure for failure in self.apply(ops) if failure.errno != errno.EEXIST]

    def remove_copies(self, entries: Sequence[VxlanGroup | FdbEntry]) -> list[Failure]:
        """Send them there no longer; what is not there is fine, also when its device is gone."""
        refused = self.apply([Delete(entry) for entry in entries])
        return [failure for failure in refused if failure.errno not in (errno.ENOENT, errno.ENODEV)]

    def multicast_rules(self) -> list[Rule]:
        """Return the rules that choose a multicast routing table by interface; EAFNOSUPPORT raises."""
        return self._read(Rule, Narrow())

    def multicast_routes(self, table: int) -> list[MulticastRoute]:
        """Return the entries of a multicast routing table."""
        return [route for route in self._read(MulticastRoute, Narrow()) if route.table == table]

    def snooping(self, bridge: int) -> links.Snooping | None:
        """Return how a bridge treats multicast; None when it is not there or was built without snooping."""
        return links.read_snooping(self._ask_link(bridge))

    def set_snooping(self, bridge: int, wanted: links.Snooping) -> None:
        """Make a bridge treat multicast as wanted. Raises NetlinkError."""
        self._send(*links.set_snooping(bridge, wanted))

    def port(self, port: int) -> Mapping[str, int]:
        """Return a port's settings (FAST_LEAVE, MAX_GROUPS) as far as it has any; none for no port."""
        return links.read_port(self._ask_link(port))

    def set_port(self, port: int, settings: Mapping[str, int]) -> None:
        """Change settings of a bridge's port. Raises NetlinkError."""
        self._send(links.set_port(port, settings))

    def alias(self, key: int | str) -> str | None:
        """Return the alias of the interface with this index or name; None without one."""
        link = self._ask_link(key)
        return link.get("IFLA_IFALIAS", "") if link else None

    def set_alias(self, name: str, text: str) -> None:
        """Give an interface an alias, of at most 254 bytes."""
        self._send(links.set_alias(name, text))

    def peer_mac(self, name: str) -> str | None:
        """Return the MAC of a veth's other end, whose namespace stays closed; None without one.

        Raises NetlinkError where that namespace may not be asked about (EACCES).
        """
        question = links.get_peer(self._ask_link(name))
        return self._ask(question).get("IFLA_ADDRESS") if question else None


def encode(
    ops: Sequence[Op], places: Iterable[int], first: int
) -> tuple[list[bytes], list[int], list[Failure]]:
    """Encode the operations in these places, numbered from `first` on without a gap.

    Return the messages, the places of their operations, and the operations that cannot be encoded.
    """
    messages: list[bytes] = []
    sent: list[int] = []
    refused: list[Failure] = []
    for place in places:
        op = ops[place]
        entry = op.entry
        try:
            messages.append(ENCODERS[type(entry)](type(op), entry, first + len(sent)))
            sent.append(place)
        except (OSError, ValueError, struct.error) as error:
            refused.append(invalid(place, op, error))
    return messages, sent, refused
