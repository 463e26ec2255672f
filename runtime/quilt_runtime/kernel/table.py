"""Our nftables table in the kernel: written as a whole, followed peer by peer, compared as nft lists it.

A join changes one element among thousands. That one is written and nothing is read: how nft lists the rest is
known from the last time it was written as a whole, and the elements are those that were asked for.
"""

from __future__ import annotations

from dataclasses import replace

import structlog

from quilt_runtime.core import firewall
from quilt_runtime.core.firewall import Firewall
from quilt_runtime.kernel import nft

log = structlog.get_logger()


class FirewallTable:
    """Not for several threads."""

    def __init__(self) -> None:
        self._held: Firewall | None = None
        self._rest = ""
        self._fib = True
        self._sets = nft.Sets()

    @property
    def intact(self) -> bool:
        """Whether the table was written and, as far as is known, is as it was written."""
        return self._held is not None

    def ensure(self, wanted: Firewall) -> list[str]:
        """Write what differs from what was written before; returns what was, raises NftError."""
        held = self._held
        if wanted == held:
            return []
        if held is None or not _but_sources(held, wanted) or not self._follow(held, wanted):
            self._held = None
            self._write(wanted)
            self._rest, _ = firewall.without_sources(nft.listing())
        self._held = wanted
        return ["table"]

    def check(self, wanted: Firewall) -> list[str]:
        """As ensure, after reading whether someone else changed the table."""
        held = self._held
        if held is not None:
            rest, sources = firewall.without_sources(nft.listing())
            if rest != self._rest or sources != held.overlay_sources:
                self._held = None
        return self.ensure(wanted)

    def _write(self, wanted: Firewall) -> None:
        """Write the whole table; where the kernel has no `fib` match, all but that."""
        try:
            nft.apply(*firewall.ruleset(wanted, fib=self._fib))
        except nft.NftError as error:
            # nft shows the rule that was refused.
            if not self._fib or " fib " not in str(error):
                raise
            nft.apply(*firewall.ruleset(wanted, fib=False))
            self._fib = False
            log.warning("nftables_without_fib", action="modprobe nft_fib_inet, then restart the runtime")

    def _follow(self, held: Firewall, wanted: Firewall) -> bool:
        """Write the difference of the sources; false where its size or others' change is in its way."""
        try:
            self._sets.change(firewall.source_changes(held.overlay_sources, wanted.overlay_sources))
        except nft.NftError:
            return False
        return True


def _but_sources(held: Firewall, wanted: Firewall) -> bool:
    """Whether two tables differ in the overlay's sources alone."""
    return replace(held, overlay_sources=wanted.overlay_sources) == wanted
