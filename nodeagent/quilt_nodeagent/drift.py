"""Hearing what happens to our entries: the kernel's notifications become places to look at again.

Every notification is taken into the tables; only where these then differ from what is wanted is anything
done. Notifications of our own writes change nothing and cost a dictionary look-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import closing

import structlog

from quilt_crds.names import MESH_PROTOCOL
from quilt_kube.backoff import Backoff
from quilt_netlink import (
    TABLE_MAIN,
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
from quilt_nodeagent.core.overlay import Hop, Mark
from quilt_nodeagent.core.ownership import LOWEST_PREFERENCE, owns_mac, owns_route
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.dataplane import Dataplane
from quilt_nodeagent.metrics import Metrics
from quilt_nodeagent.reconcile import Reconciler

log = structlog.get_logger()


class DriftWatch:
    """Feeds the reconciler from the kernel; `underlay(event)` hears of all else: links, addresses, routes.

    `unheard()` is called where such events may have been lost.
    """

    def __init__(
        self,
        table: PeerTable,
        dataplane: Dataplane,
        reconciler: Reconciler,
        metrics: Metrics,
        *,
        underlay: Callable[[Link | Address | Route, bool], None],
        unheard: Callable[[], None],
        open_monitor: Callable[[], MonitorLike] = Monitor,
    ) -> None:
        self._table = table
        self._dataplane = dataplane
        self._reconciler = reconciler
        self._metrics = metrics
        self._underlay = underlay
        self._unheard = unheard
        self._open_monitor = open_monitor
        self._gone: set[Hop] = set()

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
        marks: set[Mark] = set()
        self._gone.clear()
        for event in events:
            if isinstance(event, Overrun):
                log.info("kernel_events_lost", does="reads everything again")
                self._missed("overrun")
            else:
                self._take(event, marks)
        self._take_routes_along(marks)
        if marks and self._table.complete:
            self._reconciler.drifted(set(filter(self._dataplane.tables.differ, marks)))

    def _missed(self, cause: str) -> None:
        """Whatever may have happened unheard: look at all that notifications tell of."""
        self._reconciler.resync(cause)
        self._unheard()

    def _take(self, event: Change, marks: set[Mark]) -> None:
        match event.entry:
            case Neighbour() | FdbEntry():
                self._layer2(event.new, event.entry, marks)
            case Route():
                self._route(event.new, event.entry, marks)
            case Nexthop():
                self._nexthop(event.new, event.entry)
            case Link():
                self._link(event.new, event.entry)
            case Address():
                self._address(event.new, event.entry)
            case _:
                pass

    def _layer2(self, new: bool, entry: Neighbour | FdbEntry, marks: set[Mark]) -> None:
        if entry.ifindex != self._dataplane.index:
            return
        tables = self._dataplane.tables
        if isinstance(entry, Neighbour):
            tables.neighbours.observe(entry.address, entry.mac if new else None)
            marks.add(("neighbour", entry.address))
        elif owns_mac(entry.mac):
            tables.fdb.observe(entry.mac, entry.dst if new else None)
            marks.add(("fdb", entry.mac))

    def _route(self, new: bool, route: Route, marks: set[Mark]) -> None:
        if route.table != TABLE_MAIN:
            return
        routes = self._dataplane.tables.routes
        if owns_route(route.protocol) and route.metric == LOWEST_PREFERENCE:
            self._dataplane.look_at_unreachable()
            marks.add(("unreachable", route.prefix))
            return
        if owns_route(route.protocol):
            routes.observe(route.prefix, self._dataplane.routes.hop(route) if new else None)
            marks.add(("route", route.prefix))
            return
        self._underlay(route, new)
        if route.prefix in routes.desired:
            # A foreign route under a peer's prefix may be beside the mesh's or replace it: a look tells.
            self._reconciler.resync("foreign_route")

    def _nexthop(self, new: bool, nexthop: Nexthop) -> None:
        reader = self._dataplane.routes
        known = reader.nexthops.pop(nexthop.id, None)
        if new and nexthop.protocol == MESH_PROTOCOL:
            reader.learn(nexthop)
            self._gone.discard(reader.nexthops[nexthop.id])
        if known is not None and reader.nexthops.get(nexthop.id) != known:
            self._gone.add(known)

    def _take_routes_along(self, marks: set[Mark]) -> None:
        """With a nexthop object its routes are removed, and the kernel does not notify that.

        A route that was led over another object does not mind: it is what we do ourselves.
        """
        routes = self._dataplane.tables.routes
        for prefix, hop in routes.desired.items() if self._gone else ():
            if hop in self._gone and routes.held(prefix) == hop:
                routes.observe(prefix, None)
                marks.add(("route", prefix))
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
