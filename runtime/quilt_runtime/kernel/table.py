"""Our nftables table in the kernel: written as a whole, followed peer by peer, compared as nft lists it.

A join changes one element among thousands. That one is written and nothing is read: how nft lists the rest is
known from the last time it was written as a whole, and the elements are those that were asked for.
"""

from __future__ import annotations

from dataclasses import replace

from quilt_runtime.core import firewall
from quilt_runtime.core.firewall import Firewall
from quilt_runtime.kernel import nft


class FirewallTable:
    """Not for several threads."""

    def __init__(self) -> None:
        self._held: Firewall | None = None
        self._rest = ""
        self._sets = nft.Sets()

    @property
    def stands(self) -> bool:
        """Whether the table was written and, as far as is known, is as it was written."""
        return self._held is not None

    def ensure(self, wanted: Firewall) -> list[str]:
        """Write what differs from what was written before; returns what was, raises NftError."""
        held = self._held
        if wanted == held:
            return []
        if held is None or not _but_sources(held, wanted) or not self._follow(held, wanted):
            self._held = None
            nft.apply(firewall.ruleset(wanted))
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

    def _follow(self, held: Firewall, wanted: Firewall) -> bool:
        """Write the difference of the sources; false where its size or others' change is in its way."""
        try:
            self._sets.change(firewall.source_changes(held.overlay_sources, wanted.overlay_sources))
        except nft.NftError:
            return False
        return True


def _but_sources(held: Firewall, wanted: Firewall) -> bool:
    """Whether two tables differ in the overlay's sources alone. Without any, there are other rules."""
    same = replace(held, overlay_sources=wanted.overlay_sources) == wanted
    return same and bool(held.overlay_sources) and bool(wanted.overlay_sources)
