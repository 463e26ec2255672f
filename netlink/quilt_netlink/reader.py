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
from quilt_netlink.channel import HEADER, end_of_dump
from quilt_netlink.layout import Layout, Layouts

T = TypeVar("T")
_SHORTEST = 32
"""Header, the longest fixed fields, or shorter ones and one attribute: no entry is told in less."""
Decode = Callable[[memoryview, int, int], T | None]


class WalkingReader(Generic[T]):
    """Collects the entries of one dump, each decoded by itself; `torn` tells whether it was interrupted.

    Entries of another address family than `family` are none of the answer; 0 takes every family's.
    """

    def __init__(self, decode: Decode[T], family: int = 0) -> None:
        self._decode = decode
        self._family = family
        self.entries: list[T] = []
        self.torn = False

    def consume(self, view: memoryview, size: int, seq: int) -> bool:
        """Read one datagram; return whether the dump is complete."""
        at = 0
        while at + 16 <= size:
            length, kind, flags, number, _ = HEADER.unpack_from(view, at)
            if length < 16 or at + length > size:
                break
            if number == seq and self._message(view, at, at + length, kind, flags):
                return True
            at += (length + 3) & ~3
        return False

    def _message(self, view: memoryview, start: int, end: int, kind: int, flags: int) -> bool:
        if flags & c.NLM_F_DUMP_INTR and kind != c.NLMSG_ERROR:
            self.torn = True
        if kind < c.NLMSG_MIN_TYPE:
            return end_of_dump(view, kind, flags, start, end)
        entry = self._decode(view, start, end) if self._asked_for(view, start, end) else None
        if entry is not None:
            self.entries.append(entry)
        return False

    def _asked_for(self, view: memoryview, start: int, end: int) -> bool:
        if end - start < _SHORTEST:
            return False
        # br_mdb_dump() leaves the family of what it answers zero, whatever it was asked for.
        family = view[start + HEADER.size]
        return family == 0 or self._family in (0, family)


class LayoutReader(WalkingReader[T]):
    """A reader for long tables: as long as the messages are of one shape it does one unpacking for each."""

    def __init__(self, layouts: Layouts[T], family: int = 0) -> None:
        super().__init__(layouts.decode, family)
        self._layouts = layouts
        self._layout: Layout | None = None
        self._head: tuple[int, ...] = ()

    def consume(self, view: memoryview, size: int, seq: int) -> bool:
        """Read one datagram; return whether the dump is complete."""
        at = 0
        while at + 16 <= size:
            if self._layout is not None:
                at = self._alike(self._layout, view, at, size)
                if at + 16 > size:
                    break
            length, kind, flags, number, _ = HEADER.unpack_from(view, at)
            if length < 16 or at + length > size:
                break
            if number == seq:
                if self._message(view, at, at + length, kind, flags):
                    return True
                self._expect(view, at, at + length, kind, flags, seq)
            at += (length + 3) & ~3
        return False

    def _alike(self, layout: Layout, view: memoryview, at: int, size: int) -> int:
        """Read messages as long as they are like the last one; return where another one begins."""
        unpack, make, append = layout.unpack, layout.make, self.entries.append
        head, headers, pairs, family = self._head, layout.headers, layout.pairs, layout.family
        step = (layout.size + 3) & ~3
        last = size - layout.size
        while at <= last:
            values = unpack(view, at)
            if values[:4] != head or values[pairs::2] != headers or values[5] != family:
                break
            entry = make(values)
            if entry is not None:
                append(entry)
            at += step
        return at

    def _expect(self, view: memoryview, start: int, end: int, kind: int, flags: int, seq: int) -> None:
        """Take a message for what the next ones will be like; one that was interrupted is not."""
        usable = kind >= c.NLMSG_MIN_TYPE and self._asked_for(view, start, end)
        self._layout = self._layouts.find(view, start, end) if usable else None
        self._head = (end - start, kind, flags & ~c.NLM_F_DUMP_INTR, seq)
