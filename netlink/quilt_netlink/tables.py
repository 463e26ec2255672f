"""How the kernel's tables are read, with the filters it applies itself under strict checking.

A dump that the kernel interrupted (NLM_F_DUMP_INTR: the table changed while it was being read) is torn,
entries may be missing or double, and only one of its messages may say so: every message's flags are looked
at.

A kernel without the family that is asked for answers with the tables of all the families that it has
(rtnetlink_rcv_msg falls back to PF_UNSPEC's handler, rtnl_dump_all; `ipv6.disable=1`): another family's
entries are passed over.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable
from functools import partial
from socket import AF_INET, AF_INET6
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from quilt_netlink import constants as c
from quilt_netlink import decode, state
from quilt_netlink.channel import Channel, refusal
from quilt_netlink.layout import Columns, Layout
from quilt_netlink.ops import DumpInterruptedError, NetlinkError
from quilt_netlink.schema import fibmsg, ifaddrmsg, ifinfmsg, mdbmsg, ndmsg, nhmsg, rtmsg
from quilt_netlink.shapes import GET, HEADER, Kind, Message

Make = Callable[[Message], Any]
"""Makes the entry of a message, None where it has none."""
DUMP_ATTEMPTS = 8
_SHORTEST = 32
"""Header, the longest fixed fields, or shorter ones and one attribute: no entry is shorter."""
_PROTOCOL = HEADER.size + 5
"""Where a route's protocol is in its message (struct rtmsg)."""
_BRIDGE, _IP, _MULTICAST = (c.AF_BRIDGE,), (AF_INET, AF_INET6), (c.RTNL_FAMILY_IPMR,)


class Narrow(Struct, frozen=True):
    """What of a table is asked for: of one device, protocol number and routing table where not 0.

    Routes of the protocols in `but` are passed over, which costs a tenth of reading them.
    """

    ifindex: int = 0
    protocol: int = 0
    table: int = 0
    but: Collection[int] = ()


class Table(Struct, frozen=True):
    """How entries of one kind are read: what they are called, the message that is asked and its families.

    `device`, `protocol` and `table` are the fields or attributes by which the kernel narrows it, where it
    does. A device or table that is not there (`absent`) has no entries.
    """

    what: str
    kind: Kind
    make: Make
    families: tuple[int, ...] = (0,)
    device: str = ""
    protocol: str = ""
    table: str = ""
    always: tuple[tuple[str, int], ...] = ()
    absent: tuple[int, ...] = (errno.ENODEV,)

    def requests(self, narrow: Narrow) -> list[bytes]:
        """Encode the questions, one for each family."""
        asked = dict(self.always)
        asked |= {self.table: narrow.table, self.device: narrow.ifindex, self.protocol: narrow.protocol}
        attrs = [(name, value) for name, value in asked.items() if name in self.kind.attrs and value]
        fields = {name: value for name, value in asked.items() if name in self.kind.names}
        questions = [{**fields, "family": family} for family in self.families]
        return [self.kind.encode(GET, question, attrs, c.NLM_F_DUMP) for question in questions]

    def read(self, channel: Channel, narrow: Narrow) -> list[Any]:
        """Return at least what is asked for. Raises NetlinkError and DumpInterruptedError."""
        requests = self.requests(narrow)
        return [entry for request in requests for entry in self.answer(channel, request, narrow.but)]

    def answer(self, channel: Channel, request: bytes, but: Collection[int] = ()) -> list[Any]:
        """Return the entries that one question is answered with, each once.

        Some tables (a VXLAN device's FDB, neighbours) are dumped by position, without a word where they
        changed meanwhile: an entry that moved up is dumped twice.
        """
        for _ in range(DUMP_ATTEMPTS):
            reader = Reader(self.make, self.kind, request[HEADER.size], but)
            try:
                channel.dump(request, reader.consume)
            except NetlinkError as error:
                if error.errno in self.absent:
                    return []
                raise
            if not reader.torn:
                return list(dict.fromkeys(reader.entries))
        raise DumpInterruptedError(self.what, DUMP_ATTEMPTS)


_ROUTES = Table(
    *("routes", rtmsg, decode.route, _IP, "RTA_OIF", "proto", "RTA_TABLE"),
    always=(("type", c.RTN_UNICAST),),
    absent=(errno.ENODEV, errno.ENOENT),
)
_NONE = (errno.ENOENT, errno.EOPNOTSUPP)
TABLES: dict[type[Any], Table] = {
    state.Link: Table("links", ifinfmsg, decode.link, always=(("IFLA_EXT_MASK", c.RTEXT_FILTER_SKIP_STATS),)),
    state.Address: Table("addresses", ifaddrmsg, decode.address, device="index"),
    state.Neighbour: Table("neighbours", ndmsg, decode.neighbour, device="NDA_IFINDEX"),
    state.FdbEntry: Table("the FDB", ndmsg, decode.neighbour, _BRIDGE, "ifindex"),
    state.BridgeFdbEntry: Table("the bridge FDB", ndmsg, decode.neighbour, _BRIDGE, "NDA_MASTER"),
    state.Nexthop: Table("nexthops", nhmsg, decode.nexthop, device="NHA_OIF"),
    state.Route: _ROUTES,
    state.Unreachable: replace(_ROUTES, make=decode.unreachable, always=(("type", c.RTN_UNREACHABLE),)),
    state.Rule: Table("multicast rules", fibmsg, decode.multicast_rule, _MULTICAST),
    state.MulticastRoute: Table("multicast routes", rtmsg, decode.multicast_route, _MULTICAST, absent=_NONE),
}
GROUPS = Table("groups", mdbmsg, decode.groups, _BRIDGE)
"""Each message has many entries, so that it is not among the others. The kernel filters by nothing."""


class Reader:
    """Collects the entries of one dump; `torn` tells whether it was interrupted.

    Messages of another type than `kind`, or of another address family than `family`, are not of the answer;
    family 0 accepts every one's. Routes of the protocols in `but` are passed over.
    """

    def __init__(self, make: Make, kind: Kind, family: int = 0, but: Collection[int] = ()) -> None:
        self._make = make
        self._kind = kind
        self._family = family
        self._but = but
        self._before = b""
        self._layouts: dict[bytes, tuple[Layout, Callable[[Columns], Iterable[Any]] | None]] = {}
        self.entries: list[Any] = []
        self.torn = False

    def consume(self, view: memoryview, size: int, seq: int) -> bool:
        """Read one datagram; return whether the dump is complete."""
        at = 0
        while at + HEADER.size <= size:
            length, kind, flags, number, _ = HEADER.unpack_from(view, at)
            if length < HEADER.size or at + length > size:
                break
            if alike := self._alike(view, at, size):
                at += alike
                continue
            end = at + length
            if number == seq:
                if flags & c.NLM_F_DUMP_INTR and kind != c.NLMSG_ERROR:
                    self.torn = True
                if kind & ~3 == self._kind.base:  # br_mdb_dump() answers with the type of the question
                    self._message(view, at, end)
                elif kind in (c.NLMSG_DONE, c.NLMSG_ERROR):
                    error, text = refusal(view, flags, at, end)
                    if error:
                        raise NetlinkError(error, text)
                    return True
            at += (length + 3) & ~3
        return False

    def _alike(self, view: memoryview, at: int, size: int) -> int:
        """Read the messages that are laid out like one before; return how many bytes they have."""
        found = self._layouts.get(self._head(view, at))
        if found is None:
            return 0
        layout, make = found
        count = layout.count(view, at, size)
        if count and make:
            self.entries += make(layout.read(view, at, count))
        return count * layout.size

    def _message(self, view: memoryview, start: int, end: int) -> None:
        if end - start < _SHORTEST:
            return
        wanted = self._wanted(view, start)
        entry = self._make(self._kind.read(view, start + HEADER.size, end)) if wanted else None
        if entry is not None:
            self.entries.append(entry)
        head = self._head(view, start)
        # Where each message has other fields, as interfaces have, a layout would serve nobody.
        if head == self._before and (layout := Layout.of(self._kind, view, start, end)):
            fields = self._kind.fields(view, start + HEADER.size)
            make = partial(decode.alike, self._make, entry, fields)
            self._layouts[head] = layout, make if wanted else None
        self._before = head

    def _wanted(self, view: memoryview, start: int) -> bool:
        # br_mdb_dump() leaves the family of what it answers zero, whatever it was asked for.
        of_family = not self._family or view[start + HEADER.size] in (0, self._family)
        return of_family and not (self._but and view[start + _PROTOCOL] in self._but)

    def _head(self, view: memoryview, start: int) -> bytes:
        """Return the header and the fixed fields of a message."""
        return bytes(view[start : start + HEADER.size + self._kind.fixed.size])
