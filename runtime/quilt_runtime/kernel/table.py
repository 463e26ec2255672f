"""Our nftables tables in the kernel: written as a whole, followed member by member, compared as nft lists
them.

A join changes one element among thousands, a pod that starts or ends a few. Those are written and nothing is
read: how nft lists the rest is known from the last time it was written as a whole, and the elements are those
that were asked for.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Generic, TypeVar

from quilt_log import log
from quilt_netlink import NetlinkError
from quilt_netlink.nftsets import INET, MOST, NftSets, SetChange
from quilt_runtime.core import firewall
from quilt_runtime.core.firewall import Firewall
from quilt_runtime.core.nftables import TABLE
from quilt_runtime.kernel import nft

W = TypeVar("W")


class Table(ABC, Generic[W]):
    """One table, which follows from a `W`. Not for several threads."""

    kind: str
    """What its repair is counted as."""

    def __init__(self, family: int) -> None:
        self._family = family
        self._held: W | None = None
        self._rules = ""
        self._sets: NftSets | None = None

    @property
    def intact(self) -> bool:
        """Whether the table was written and, as far as is known, is as it was written."""
        return self._held is not None

    def write(self, wanted: W, *, read: bool = False) -> list[str]:
        """Write what differs from what was written before; returns what was, raises NftError.

        With `read` also what somebody else changed.
        """
        held = self._held
        if held is not None and read and not self._is_intact(held):
            self._held = held = None
        if wanted == held:
            return []
        changes = None if held is None else self._changes(held, wanted)
        if changes is None or not self._follow(changes):
            self._held = None
            self._replace(wanted)
        self._held = wanted
        return [] if changes == [] else [self.kind]

    def _follow(self, changes: list[SetChange]) -> bool:
        """Write changes of members; false where their size or others' change is in their way."""
        if sum(len(change.addresses) for change in changes) > MOST:
            return False
        try:
            if changes:
                sets = self._opened()
                nft.remember(sets.port)
                sets.change(changes)
        except OSError:
            self._close()
            return False
        return True

    def _members(self, name: str) -> set[bytes]:
        """Return the keys of a set, empty without such a set; raises NftError."""
        try:
            return self._opened().members(name)
        except OSError as error:
            self._close()
            if isinstance(error, NetlinkError) and error.errno == errno.ENOENT:
                return set()
            raise nft.NftError(f"nftables refused to list a set of the table {TABLE}: {error}") from error

    def _opened(self) -> NftSets:
        """Return the socket; one on which something was refused is closed, and the next use opens another."""
        self._sets = self._sets or NftSets(TABLE, family=self._family)
        return self._sets

    def _close(self) -> None:
        if self._sets is not None:
            self._sets.close()
            self._sets = None

    @abstractmethod
    def _is_intact(self, held: W) -> bool:
        """Whether the kernel has what was written."""

    @abstractmethod
    def _changes(self, held: W, wanted: W) -> list[SetChange] | None:
        """Return what leads from one to the other by members of sets alone, None where that cannot be."""

    @abstractmethod
    def _replace(self, wanted: W) -> None:
        """Write the whole table, and note how nft lists it."""


class FirewallTable(Table[Firewall]):
    """The table `inet quilt`."""

    kind = "table"

    def __init__(self) -> None:
        super().__init__(INET)
        self._fib = True

    def _is_intact(self, held: Firewall) -> bool:
        return firewall.without_sources(nft.listing()) == (self._rules, held.config.overlay_sources)

    def _changes(self, held: Firewall, wanted: Firewall) -> list[SetChange] | None:
        if _but_sources(held) != _but_sources(wanted):
            return None
        return firewall.source_changes(held.config.overlay_sources, wanted.config.overlay_sources)

    def _replace(self, wanted: Firewall) -> None:
        """Where the kernel has no `fib` match, write all but that."""
        try:
            nft.apply(*firewall.ruleset(wanted, fib=self._fib))
        except nft.NftError as error:
            # nft shows the rule that was refused.
            if not self._fib or " fib " not in str(error):
                raise
            nft.apply(*firewall.ruleset(wanted, fib=False))
            self._fib = False
            log.warning("nftables_without_fib", action="modprobe nft_fib_inet, then restart the runtime")
        self._rules, _ = firewall.without_sources(nft.listing())


def _but_sources(wanted: Firewall) -> tuple[str, ...]:
    """Return the table's text without the overlay's sources."""
    config = replace(wanted.config, overlay_sources=frozenset())
    return firewall.ruleset(replace(wanted, config=config))
