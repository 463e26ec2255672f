"""Hearing what happens to our entries: the kernel's notifications become keys to look at again.

Every notification updates the tracked view; only where that view then differs from what is wanted is anything
done. Notifications of our own writes change nothing and cost a dictionary look-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Protocol

import structlog

from quilt_kube.backoff import Backoff
from quilt_netlink import (
    Address,
    Change,
    Event,
    FdbEntry,
    Link,
    Monitor,
    MonitorLike,
    Neighbour,
    Nexthop,
    Overrun,
    Route,
)
from quilt_nodeagent.core.ownership import MESH_PROTOCOL, owns_mac, owns_route
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.core.state import Entries, Keys
from quilt_nodeagent.kernel.dataplane import Dataplane
from quilt_nodeagent.metrics import Metrics

log = structlog.get_logger()

_MAIN_TABLE = 254


class Marks(Protocol):
    """Who is told what must be looked at again: the reconciler."""

    def drifted(self, keys: Keys) -> None:
        """Look at these keys."""

    def resync(self, cause: str) -> None:
        """Look at everything."""


class DriftWatch:
    """Feeds the reconciler from the kernel; `underlay(event)` hears of all else: links, addresses, routes.

    `unheard()` is called where such events may have been lost.
    """

    def __init__(
        self,
        table: PeerTable,
        dataplane: Dataplane,
        reconciler: Marks,
        metrics: Metrics,
        *,
        underlay: Callable[[Link | Address | Route, bool], None],
        unheard: Callable[[], None],
        open_monitor: Callable[[], MonitorLike] = Monitor.open,
    ) -> None:
        self._table = table
        self._dataplane = dataplane
        self._reconciler = reconciler
        self._metrics = metrics
        self._underlay = underlay
        self._unheard = unheard
        self._open_monitor = open_monitor

    async def run(self) -> None:
        """Watch for ever; a monitor that fails is opened again, and everything read again."""
        backoff = Backoff(0.5, 30.0)
        while True:
            try:
                with closing(self._open_monitor()) as monitor:
                    self._missed("monitor")
                    while events := await monitor.take_all():
                        self.take(events)
                        backoff.reset()
            except OSError as error:
                log.warning("kernel_monitor_failed", error=str(error))
            await asyncio.sleep(backoff.delay())

    def take(self, events: Iterable[Event]) -> None:
        """Take in notifications and mark what is not as wanted."""
        keys = Keys()
        for event in events:
            if isinstance(event, Overrun):
                log.info("kernel_events_lost", does="reads everything again")
                self._missed("overrun")
            else:
                self._take(event, keys)
        if keys and self._table.complete:
            self._reconciler.drifted(self._unwanted(keys))

    def _missed(self, cause: str) -> None:
        """Whatever may have happened unheard: look at all that notifications tell of."""
        self._reconciler.resync(cause)
        self._unheard()

    def _take(self, event: Change, keys: Keys) -> None:
        match event.entry:
            case Neighbour() | FdbEntry():
                self._layer2(event.new, event.entry, keys)
            case Route():
                self._route(event.new, event.entry, keys)
            case Nexthop():
                self._nexthop(event.new, event.entry, keys)
            case Link():
                self._link(event.new, event.entry)
            case Address():
                self._address(event.new, event.entry)
            case _:
                pass

    def _layer2(self, new: bool, entry: Neighbour | FdbEntry, keys: Keys) -> None:
        if entry.ifindex != self._dataplane.index:
            return
        tracked = self._dataplane.tracked
        if isinstance(entry, Neighbour):
            _set(tracked.neighbours, entry.address, entry.mac, new)
            keys.neighbours.add(entry.address)
        elif owns_mac(entry.mac):
            _set(tracked.fdb, entry.mac, entry.dst, new)
            keys.fdb.add(entry.mac)

    def _route(self, new: bool, route: Route, keys: Keys) -> None:
        if route.table != _MAIN_TABLE:
            return
        routes = self._dataplane.tracked.routes
        if owns_route(route.protocol):
            self._dataplane.unheard.discard(route.prefix)
            if new:
                routes[route.prefix] = self._dataplane.routes.hop(route)
            else:
                routes.pop(route.prefix, None)
            keys.routes.add(route.prefix)
            return
        self._underlay(route, new)
        if route.prefix in self._table.desired(Keys(routes={route.prefix})).routes:
            # A foreign route under a peer's prefix may stand beside ours or in its place: only a look tells.
            self._reconciler.resync("foreign_route")

    def _nexthop(self, new: bool, nexthop: Nexthop, keys: Keys) -> None:
        """A nexthop object that goes takes its routes with it, and the kernel does not say so."""
        reader, routes = self._dataplane.routes, self._dataplane.tracked.routes
        known = reader.nexthops.pop(nexthop.id, None)
        if new and nexthop.protocol == MESH_PROTOCOL:
            reader.learn(nexthop)
        if known is None or reader.nexthops.get(nexthop.id) == known:
            return
        if known.device != self._table.device:
            # Not under a peer's VTEP address, so its routes are found by looking at all.
            self._reconciler.resync("nexthop")
            return
        # A route that was led over another object does not mind: it is what we do ourselves.
        for prefix in self._table.keys_of(known.gateway).routes:
            if routes.get(prefix) == known:
                del routes[prefix]
                self._dataplane.unheard.discard(prefix)
                keys.routes.add(prefix)
                self._metrics.drift_repairs.labels("nexthop").inc()

    def _link(self, new: bool, link: Link) -> None:
        if link.index == self._dataplane.index or link.name == self._table.device:
            # Even when it looks right again: routes do not survive a device that was down for a moment.
            self._reconciler.resync("link")
        else:
            self._underlay(link, new)

    def _address(self, new: bool, address: Address) -> None:
        if address.ifindex != self._dataplane.index:
            self._underlay(address, new)
        elif not address.address.startswith("fe80:"):
            self._reconciler.resync("address")

    def _unwanted(self, keys: Keys) -> Keys:
        wanted, tracked = self._table.desired(keys), self._dataplane.tracked
        return different(keys, wanted, tracked)


def different(keys: Keys, one: Entries, other: Entries) -> Keys:
    """Return those of `keys` under which two states differ."""
    return Keys(
        {key for key in keys.neighbours if one.neighbours.get(key) != other.neighbours.get(key)},
        {key for key in keys.fdb if one.fdb.get(key) != other.fdb.get(key)},
        {key for key in keys.routes if one.routes.get(key) != other.routes.get(key)},
    )


def _set(table: dict[str, str], key: str, value: str, new: bool) -> None:
    if not new:
        table.pop(key, None)
    elif table.get(key) != value:  # else it stays in the words that it is wanted in
        table[key] = value
