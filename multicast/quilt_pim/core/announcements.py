"""Active sources as callers announce them, kept as a cache that forgets what is not announced again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from quilt_pim.core.events import MsdpSaCacheChange
from quilt_pim.core.validate import ControlError

# RFC 3618 §5.3: at least 90 seconds; announcements come every 60.
DEFAULT_HOLDTIME = 90
MAX_HOLDTIME = 3600
MAX_SOURCES = 16384


@dataclass(frozen=True, slots=True)
class Announcement:
    """One active source of a group, originated by the rendezvous point `rp`."""

    source: str
    group: str
    rp: str


class SourceCache:
    """All announcements with their ends; every change returns the event that follows from it."""

    def __init__(self) -> None:
        self._held: dict[Announcement, float] = {}

    def __iter__(self) -> Iterator[tuple[Announcement, float]]:
        return iter(sorted(self._held.items(), key=lambda item: (item[0].group, item[0].source, item[0].rp)))

    def announce(self, item: Announcement, holdtime: int, now: float) -> MsdpSaCacheChange:
        """Take in an announcement, or the same one again."""
        known = item in self._held
        if not known and len(self._held) >= MAX_SOURCES:
            raise ControlError(f"There are {MAX_SOURCES} announced sources already")
        self._held[item] = now + holdtime
        return MsdpSaCacheChange(item.source, item.group, item.rp, "Refresh" if known else "Add")

    def withdraw(self, item: Announcement) -> MsdpSaCacheChange:
        """Take an announcement back."""
        if self._held.pop(item, None) is None:
            raise ControlError(f"Source {item.source} of {item.group} is not announced by {item.rp}")
        return MsdpSaCacheChange(item.source, item.group, item.rp, "Remove")

    def expire(self, now: float) -> list[MsdpSaCacheChange]:
        """Forget what was not announced again in time."""
        return [self.withdraw(item) for item, until in list(self._held.items()) if until <= now]

    def next_expiry(self) -> float:
        """When `expire` has something to do next; inf for never."""
        return min(self._held.values(), default=inf)
