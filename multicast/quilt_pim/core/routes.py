"""(*,G) and (S,G) entries that neighbors asked for with Join/Prune messages.

An entry exists as long as one interface wants it. Each interface's wish ends with its holdtime, or with a
prune: at once where one neighbor is on the link, after the override interval where others may object
(RFC 7761 §4.5.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import inf

from quilt_pim.core.events import PimRouteChange, RouteAction, RouteType
from quilt_pim.core.pim import HOLDTIME_FOREVER, Entry
from quilt_pim.core.rpf import RpfInfo
from quilt_pim.core.validate import ControlError

# Propagation delay and override interval of RFC 7761 §4.11, in seconds.
OVERRIDE = 3.0
# A neighbor chooses the sources it joins: without a bound it could fill the agent's memory.
MAX_ROUTES = 16384


@dataclass(frozen=True, slots=True)
class Key:
    """What an entry is for; `source` is None for (*,G)."""

    group: str
    source: str | None

    @property
    def route_type(self) -> RouteType:
        """`StarG` or `SG`."""
        return "StarG" if self.source is None else "SG"


@dataclass(frozen=True, slots=True)
class Route:
    """One entry: the root that upstream is found by (source or rendezvous point), and who wants it."""

    key: Key
    root: str
    upstream: RpfInfo | None
    wanted: dict[str, float] = field(default_factory=dict)

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Interfaces that it is sent out of."""
        return tuple(sorted(self.wanted))


class RouteTable:
    """All entries; every change returns the events that follow from it."""

    def __init__(self) -> None:
        self._held: dict[Key, Route] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Route]:
        return iter(sorted(self._held.values(), key=lambda route: (route.key.group, route.key.source or "")))

    def join(
        self, entry: Entry, interface: str, upstream: RpfInfo | None, holdtime: int, now: float
    ) -> list[PimRouteChange]:
        """Let an interface want an entry for so long."""
        key = _key(entry)
        held = self._held.get(key)
        if held is None and len(self._held) >= MAX_ROUTES:
            raise ControlError(f"There are {MAX_ROUTES} multicast routes already; {key.group} is left out")
        expires = inf if holdtime == HOLDTIME_FOREVER else now + holdtime
        wanted = {**(held.wanted if held else {}), interface: expires}
        return self._put(Route(key, entry.source, upstream, wanted))

    def prune(self, entry: Entry, interface: str, delay: float, now: float) -> list[PimRouteChange]:
        """End an interface's wish, after `delay` seconds in which a join cancels that."""
        held = self._held.get(_key(entry))
        if held is None or interface not in held.wanted:
            return []
        if delay > 0:
            until = min(held.wanted[interface], now + delay)
            return self._put(replace(held, wanted={**held.wanted, interface: until}))
        return self._put(_without(held, {interface}))

    def expire(self, now: float) -> list[PimRouteChange]:
        """End the wishes whose time is over."""
        events: list[PimRouteChange] = []
        for held in list(self._held.values()):
            over = {name for name, until in held.wanted.items() if until <= now}
            if over:
                events += self._put(_without(held, over))
        return events

    def next_expiry(self) -> float:
        """When `expire` has something to do next; inf for never."""
        return min((until for held in self._held.values() for until in held.wanted.values()), default=inf)

    def drop_interface(self, interface: str) -> list[PimRouteChange]:
        """End every wish of an interface."""
        chosen = [held for held in self._held.values() if interface in held.wanted]
        return [event for held in chosen for event in self._put(_without(held, {interface}))]

    def set_upstream(self, key: Key, upstream: RpfInfo | None) -> list[PimRouteChange]:
        """Change an entry's way to its source."""
        held = self._held.get(key)
        return self._put(replace(held, upstream=upstream)) if held else []

    def _put(self, new: Route) -> list[PimRouteChange]:
        old = self._held.get(new.key)
        if not new.wanted:
            self._held.pop(new.key, None)
            return [_change(new.key, "Remove")] if old else []
        self._held[new.key] = new
        if old is None:
            return [_change(new.key, "Add")]
        if (old.interfaces, old.upstream) != (new.interfaces, new.upstream):
            return [_change(new.key, "Update")]
        return []


def _key(entry: Entry) -> Key:
    return Key(entry.group, None if entry.wildcard else entry.source)


def _without(route: Route, interfaces: set[str]) -> Route:
    return replace(route, wanted={name: u for name, u in route.wanted.items() if name not in interfaces})


def _change(key: Key, action: RouteAction) -> PimRouteChange:
    return PimRouteChange(key.route_type, key.group, key.source, action)
