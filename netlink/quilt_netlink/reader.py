"""Whole tables from a dump's datagrams.

A dump that the kernel interrupted (NLM_F_DUMP_INTR: the table changed while it was being read) is torn,
entries may be missing or double, and only one of its messages may say so: every message's flags are
looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from quilt_netlink import constants as c
from quilt_netlink.channel import HEADER, end_of_dump

T = TypeVar("T")
Decode = Callable[[memoryview, int, int], T | None]


class TableReader(Generic[T]):
    """Collects the entries of one dump; `torn` tells whether it was interrupted."""

    def __init__(self, decode: Decode[T]) -> None:
        self._decode = decode
        self.entries: list[T] = []
        self.torn = False

    def consume(self, view: memoryview, size: int, seq: int) -> bool:
        """Read one datagram; return whether the dump is complete."""
        at = 0
        decode, append = self._decode, self.entries.append
        while at + 16 <= size:
            length, kind, flags, number, _ = HEADER.unpack_from(view, at)
            if length < 16:
                break
            if number == seq:
                if flags & c.NLM_F_DUMP_INTR and kind != c.NLMSG_ERROR:
                    self.torn = True
                if kind < 16:
                    if end_of_dump(view, kind, flags, at, at + length):
                        return True
                else:
                    entry = decode(view, at, at + length)
                    if entry is not None:
                        append(entry)
            at += (length + 3) & ~3
        return False
