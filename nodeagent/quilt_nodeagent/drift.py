"""Hearing what happens to our entries: the kernel's notifications become places to look at again.

Every notification is taken into the tables; only where these then differ from what is wanted is anything
done. Notifications of our own writes change nothing and cost a dictionary look-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, field

from quilt_crds.names import MESH_PROTOCOL
from quilt_kube.backoff import Backoff
from quilt_log import log
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
from quilt_nodeagent.core.overlay import LOWEST_PREFERENCE, Hop, Mark, owns_mac
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.dataplane import Dataplane
from quilt_nodeagent.news import Repairs
from quilt_nodeagent.reconcile import Reconciler


@dataclass
class DriftWatch:
    """Feeds the reconciler from the kernel; `underlay(event)` hears of all else: links, addresses, routes.

    `unheard()` is called where such events may have been lost.
    """

    table: PeerTable
    dataplane: Dataplane
    reconciler: Reconciler
    repairs: Repairs
    _: KW_ONLY
    underlay: Callable[[Link | Address | Route, bool], None]
    unheard: Callable[[], None]
    open_monitor: Callable[[], MonitorLike] = Monitor
    _gone: set[Hop] = field(default_factory=set, init=False)

    async def run(self) -> None:
        """Watch for ever; a monitor that fails is opened again, and everything read again."""
        backoff = Backoff(0.5, 30.0)
        while True:
            try:
                with closing(self.open_monitor()) as monitor:
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
        if marks and self.table.complete:
            self.reconciler.drifted(set(filter(self.dataplane.tables.differ, marks)))

    def _missed(self, cause: str) -> None:
        """Whatever may have happened unheard: look at all that notifications tell of."""
        self.reconciler.resync(cause)
        self.unheard()

    def _take(self, event: Change, marks: set[Mark]) -> None:
        new, tables, index = event.new, self.dataplane.tables, self.dataplane.index
        match event.entry:
            case Neighbour() as entry if entry.ifindex == index:
                tables.neighbours.observe(entry.address, entry.mac if new else None)
                marks.add(("neighbour", entry.address))
            case FdbEntry() as entry if entry.ifindex == index and owns_mac(entry.mac):
                tables.fdb.observe(entry.mac, entry.dst if new else None)
                marks.add(("fdb", entry.mac))
            case Route() as route if route.table == TABLE_MAIN:
                self._route(new, route, marks)
            case Nexthop() as nexthop:
                self._nexthop(new, nexthop)
            case Link() as link if link.index == index or link.name == self.table.device:
                # Even when it looks right again: routes do not survive a device that was down for a moment.
                self.reconciler.resync("link")
            case Address() as address if address.ifindex == index:
                if not address.address.startswith("fe80:"):
                    self.reconciler.resync("address")
            case Link() | Address() as other:
                self.underlay(other, new)

    def _route(self, new: bool, route: Route, marks: set[Mark]) -> None:
        routes = self.dataplane.tables.routes
        if route.protocol == MESH_PROTOCOL and route.metric == LOWEST_PREFERENCE:
            self.dataplane.look_at_unreachable()
            marks.add(("unreachable", route.prefix))
            return
        if route.protocol == MESH_PROTOCOL:
            routes.observe(route.prefix, self.dataplane.routes.hop(route) if new else None)
            marks.add(("route", route.prefix))
            return
        self.underlay(route, new)
        if route.prefix in routes.desired:
            # A foreign route under a peer's prefix may be beside the mesh's or replace it: a look tells.
            self.reconciler.resync("foreign_route")

    def _nexthop(self, new: bool, nexthop: Nexthop) -> None:
        reader, vteps = self.dataplane.routes, self.dataplane.tables.neighbours.desired
        known = reader.over(nexthop.id)
        if nexthop.id in reader.others or known.gateway in vteps:  # else it had no route that we want
            self._gone.add(known)
        if new:
            reader.learn(nexthop)
            self._gone.discard(reader.over(nexthop.id))
        else:
            reader.others.pop(nexthop.id, None)

    def _take_routes_along(self, marks: set[Mark]) -> None:
        """With a nexthop object its routes are removed, and the kernel does not notify that.

        A route that was led over another object does not mind: it is what we do ourselves.
        """
        routes = self.dataplane.tables.routes
        for prefix, hop in routes.desired.items() if self._gone else ():
            if hop in self._gone and routes.held(prefix) == hop:
                routes.observe(prefix, None)
                marks.add(("route", prefix))
                self.repairs.count("nexthop")
