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
from collections.abc import Callable
from socket import AF_INET, AF_INET6
from typing import Any, TypeVar

from msgspec import Struct

from quilt_netlink import constants as c
from quilt_netlink import decode, state
from quilt_netlink.channel import Channel, refusal, walk
from quilt_netlink.ops import DumpInterruptedError, NetlinkError
from quilt_netlink.schema import READ, fibmsg, ifaddrmsg, ifinfmsg, ndmsg, nhmsg, rtmsg
from quilt_netlink.shapes import GET, HEADER, Kind, Message, answer_to

T = TypeVar("T")
Make = Callable[[Message], T | None]
"""Makes the entry of a message, None where it has none."""
DUMP_ATTEMPTS = 8
_SHORTEST = 32
"""Header, the longest fixed fields, or shorter ones and one attribute: no entry is shorter."""
_PROTOCOL = HEADER.size + 5
"""Where a route's protocol is in its message (struct rtmsg)."""
_FDB, _MULTICAST = {"family": c.AF_BRIDGE}, {"family": c.RTNL_FAMILY_IPMR}


class Narrow(Struct, frozen=True):
    """What of a table is asked for: of one device, protocol number and routing table where not 0.

    Routes of the protocols in `but` are passed over, which costs a tenth of reading them.
    """

    ifindex: int = 0
    protocol: int = 0
    table: int = 0
    but: frozenset[int] = frozenset()


class Table(Struct, frozen=True):
    """How entries of one kind are read: what they are called, the dumps, what makes them of messages.

    A device or table that is not there (`absent`) has none.
    """

    what: str
    requests: Callable[[Narrow], list[bytes]]
    make: Make[Any]
    absent: tuple[int, ...] = (errno.ENODEV,)

    def read(self, channel: Channel, narrow: Narrow) -> list[Any]:
        """Return at least what is asked for, each entry once. Raises NetlinkError and DumpInterruptedError.

        Some tables (a VXLAN device's FDB, neighbours) are dumped by position, without a word where they
        changed meanwhile: an entry that moved up is dumped twice.
        """
        found: list[Any] = []
        for request in self.requests(narrow):
            found += dict.fromkeys(self._one(channel, request, narrow.but))
        return found

    def _one(self, channel: Channel, request: bytes, but: frozenset[int]) -> list[Any]:
        for _ in range(DUMP_ATTEMPTS):
            reader = Reader(self.make, answer_to(request), request[HEADER.size], but)
            try:
                channel.dump(request, reader.consume)
            except NetlinkError as error:
                if error.errno in self.absent:
                    return []
                raise
            if not reader.torn:
                return reader.entries
        raise DumpInterruptedError(self.what, DUMP_ATTEMPTS)


def dump(kind: Kind, fields: dict[str, int], **filters: int) -> list[bytes]:
    """Encode the question for a table; a filter of 0 is left out."""
    attrs = [(name, value) for name, value in filters.items() if value]
    return [kind.encode(GET, fields, attrs, c.NLM_F_DUMP)]


def _routes(narrow: Narrow, kind: int = c.RTN_UNICAST) -> list[bytes]:
    fields = {"proto": narrow.protocol, "type": kind}
    return [
        request
        for family in (AF_INET, AF_INET6)
        for request in dump(
            rtmsg, {**fields, "family": family}, RTA_TABLE=narrow.table, RTA_OIF=narrow.ifindex
        )
    ]


TABLES: dict[type[Any], Table] = {
    state.Link: Table(
        "links", lambda _: dump(ifinfmsg, {}, IFLA_EXT_MASK=c.RTEXT_FILTER_SKIP_STATS), decode.link
    ),
    state.Address: Table("addresses", lambda at: dump(ifaddrmsg, {"index": at.ifindex}), decode.address),
    state.Neighbour: Table(
        "neighbours", lambda at: dump(ndmsg, {}, NDA_IFINDEX=at.ifindex), decode.neighbour
    ),
    state.FdbEntry: Table(
        "the FDB", lambda at: dump(ndmsg, {**_FDB, "ifindex": at.ifindex}), decode.neighbour
    ),
    state.BridgeFdbEntry: Table(
        "the bridge FDB", lambda at: dump(ndmsg, _FDB, NDA_MASTER=at.ifindex), decode.neighbour
    ),
    state.Nexthop: Table(  # the kernel has no protocol filter
        "nexthops", lambda at: dump(nhmsg, {}, NHA_OIF=at.ifindex), decode.nexthop
    ),
    state.Route: Table("routes", _routes, decode.route, (errno.ENODEV, errno.ENOENT)),
    state.Unreachable: Table("routes", lambda at: _routes(at, c.RTN_UNREACHABLE), decode.unreachable),
    state.MulticastRule: Table("multicast rules", lambda _: dump(fibmsg, _MULTICAST), decode.multicast_rule),
    state.MulticastRoute: Table(
        "multicast routes",
        lambda _: dump(rtmsg, _MULTICAST),
        decode.multicast_route,
        (errno.ENOENT, errno.EOPNOTSUPP),
    ),
}


class Reader:
    """Collects the entries of one dump; `torn` tells whether it was interrupted.

    Messages of another type than `kind`, or of another address family than `family`, are not of the answer;
    family 0 accepts every one's. Routes of the protocols in `but` are passed over.
    """

    def __init__(
        self, make: Make[Any], kind: int, family: int = 0, but: frozenset[int] = frozenset()
    ) -> None:
        self._make = make
        self._kind = kind
        self._shape = READ[kind]
        self._family = family
        self._but = but
        self.entries: list[Any] = []
        self.torn = False

    def consume(self, view: memoryview, size: int, seq: int) -> bool:
        """Read one datagram; return whether the dump is complete."""
        for kind, flags, number, start, end in walk(view, size):
            if number != seq:
                continue
            if flags & c.NLM_F_DUMP_INTR and kind != c.NLMSG_ERROR:
                self.torn = True
            if kind & ~3 == self._kind:  # br_mdb_dump() answers with the type of the question
                self._message(view, start, end)
            elif kind in (c.NLMSG_DONE, c.NLMSG_ERROR):
                error, text = refusal(view, flags, start, end)
                if error:
                    raise NetlinkError(error, text)
                return True
        return False

    def _message(self, view: memoryview, start: int, end: int) -> None:
        # br_mdb_dump() leaves the family of what it answers zero, whatever it was asked for.
        if end - start < _SHORTEST or (self._family and view[start + HEADER.size] not in (0, self._family)):
            return
        if self._but and view[start + _PROTOCOL] in self._but:
            return
        entry = self._make(self._shape.read(view, start + HEADER.size, end))
        if entry is not None:
            self.entries.append(entry)
