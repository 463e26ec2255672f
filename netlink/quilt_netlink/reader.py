"""Whole tables from a dump's datagrams.

A dump that the kernel interrupted (NLM_F_DUMP_INTR: the table changed while it was being read) is torn,
entries may be missing or double, and only one of its messages may say so: every message's flags are looked
at.

A kernel without the family that is asked for answers with the tables of all the families that it has
(rtnetlink_rcv_msg falls back to PF_UNSPEC's handler, rtnl_dump_all; `ipv6.disable=1`): another family's
entries are passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from quilt_netlink import constants as c
from quilt_netlink.channel import Channel, end_of_dump, walk
from quilt_netlink.errors import DumpInterruptedError, NetlinkError
from quilt_netlink.messages import HEADER, Message, answer_to
from quilt_netlink.schema import READ

T = TypeVar("T")
DUMP_ATTEMPTS = 8
_SHORTEST = 32
"""Header, the longest fixed fields, or shorter ones and one attribute: no entry is shorter."""
_PROTOCOL = HEADER.size + 5
"""Where a route's protocol is in its message (struct rtmsg)."""
Make = Callable[[Message], T | None]
"""Makes the entry of a message, None where it has none."""


class Reader(Generic[T]):
    """Collects the entries of one dump; `torn` tells whether it was interrupted.

    Messages of another type than `kind`, or of another address family than `family`, are not of the answer;
    family 0 accepts every one's. Routes of the protocols in `but` are passed over.
    """

    def __init__(self, make: Make[T], kind: int, family: int = 0, but: frozenset[int] = frozenset()) -> None:
        self._make = make
        self._kind = kind
        self._shape = READ[kind]
        self._family = family
        self._but = but
        self.entries: list[T] = []
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
            elif end_of_dump(view, kind, flags, start, end):
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


def read_table(
    channel: Channel,
    what: str,
    request: bytes,
    make: Make[T],
    absent: tuple[int, ...] = (),
    but: frozenset[int] = frozenset(),
) -> list[T]:
    """Read a table of the family that the request names, each entry once; none where it is `absent` (errno).

    Some tables (a VXLAN device's FDB, neighbours) are dumped by position, without a word where they changed
    meanwhile: an entry that moved up is dumped twice.
    """
    for _ in range(DUMP_ATTEMPTS):
        reader = Reader(make, answer_to(request), request[HEADER.size], but)
        try:
            channel.dump(request, reader.consume)
        except NetlinkError as error:
            if error.errno in absent:
                return []
            raise
        if not reader.torn:
            return list(dict.fromkeys(reader.entries))
    raise DumpInterruptedError(what, DUMP_ATTEMPTS)
