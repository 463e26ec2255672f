"""Flapping links notified at a bearable rate: a link that flaps would have everything read each time.

The first changes of a link are notified at once. One that keeps flapping is notified at most twice a second,
and always how it is in the end; that it is gone is never held back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from quilt_netlink.events import Change
from quilt_netlink.state import Link

BURST = 12.0
RATE = 2.0


@dataclass(slots=True)
class _Seen:
    """A link's last state, how many flaps it has left, since when, and what is held back."""

    link: Link
    at: float
    left: float = BURST
    held: Change | None = None


class LinkDamper:
    """Passes changes on, those of flapping links later."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pass_on: Callable[[Change], None]) -> None:
        self._loop = loop
        self._pass_on = pass_on
        self._seen: dict[int, _Seen] = {}

    def put(self, change: Change) -> None:
        """Take a change."""
        link = change.entry
        if isinstance(link, Link) and self._holds(change, link):
            return
        self._pass_on(change)

    def _holds(self, change: Change, link: Link) -> bool:
        if not change.new:
            self._seen.pop(link.index, None)
            return False
        now = self._loop.time()
        seen = self._seen.get(link.index)
        if seen is None:
            self._seen[link.index] = _Seen(link, now)
            return False
        # The kernel also tells what we do not represent, a carrier lost and found: a flap too.
        flapped = link.up != seen.link.up or link == seen.link
        seen.left = min(BURST, seen.left + (now - seen.at) * RATE) - flapped
        seen.link, seen.at = link, now
        if seen.held is not None:
            seen.held = change
            return True
        if seen.left >= 0:
            return False
        seen.held = change
        self._loop.call_later(1 / RATE, self._release, link.index, seen)
        return True

    def _release(self, index: int, seen: _Seen) -> None:
        held, seen.held = seen.held, None
        seen.left = max(seen.left, 0.0)
        if held is not None and self._seen.get(index) is seen:
            self._pass_on(held)
