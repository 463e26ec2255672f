"""Multicast of one node while it is on: members, flows and peers come in, the kernel follows.

The same walk as the mesh's: what changed marks groups, a pass compares what should be about them with what is
tracked, and writes the difference; a full pass reads the kernel again. A pass lasts a fraction of a
millisecond and nothing in it waits, so passes run inside the event loop, once for all marks of a moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence, Set

from quilt_log import log
from quilt_multicast.core.forwarding import Forwarding, Topology
from quilt_multicast.core.members import LINK_LOCAL, Limits, LocalMembers, RemoteMembers
from quilt_multicast.core.state import Flow, Forward, Plan, make_plan
from quilt_multicast.core.sync import News
from quilt_multicast.dataplane import DataplaneError, MulticastDataplane, NotYetError
from quilt_multicast.exchange import Exchange
from quilt_multicast.metrics import MulticastMetrics
from quilt_multicast.mroute import NO_ENTRY
from quilt_multicast.namespaces import Admission
from quilt_multicast.trouble import Trouble
from quilt_netlink import BridgeGroup, Change, Event, Link, MonitorLike, NetlinkError, Overrun, VxlanGroup

# Seconds: the safety net under the notifications, how often flows are looked at, how often peers that fell
# silent, and how long peers may take to tell their members before what a predecessor left is ended.
RESYNC = 60.0
LOOK = 30.0
SILENT = 1.0
SETTLE = 1.5


class Observer:
    """Hears of changes, as the control socket's events do; this one ignores them."""

    def member(self, group: str, joined: bool) -> None:
        """This node's pods became members of a group, or none is left."""

    def flow(self, flow: Flow, old: Forward | None, new: Forward | None) -> None:
        """An entry of the routing table was made, changed or removed."""


class Engine:
    """`exchange` tells the peers of this node's members and reports theirs; `looked()` is called when all
    members were read, `repaired` with the kind of an entry that others changed.

    What a predecessor left in the kernel stays until every peer has reported its members.
    """

    def __init__(
        self,
        dataplane: MulticastDataplane,
        exchange: Exchange,
        metrics: MulticastMetrics,
        *,
        open_monitor: Callable[[], MonitorLike],
        observer: Observer | None = None,
        looked: Callable[[], None] = lambda: None,
        repaired: Callable[[str], None] = lambda _kind: None,
    ) -> None:
        self.dataplane = dataplane
        self.exchange = exchange
        exchange.receive = self.receive
        self._metrics = metrics
        self._open_monitor = open_monitor
        self._observer = observer or Observer()
        self._admission = Admission(dataplane.alias)
        self.local = LocalMembers(Limits(), self._admission.port)
        self.remote = RemoteMembers()
        source, exists = self._admission.source, self._admission.exists
        self.forwarding = Forwarding(self.local, self.remote, Limits(), source, dataplane.key, exists)
        self._dirty: set[str] = set()
        self._full = "start"
        self._scheduled = False
        self._received_at = 0.0
        self.trouble = Trouble(lambda: self.resync("retry"), metrics)
        self._looked = looked
        self._repaired = repaired
        self._settling = False
        self._fd = -1

    async def run(self) -> None:
        """Serve until cancelled; raises MrouteError where the routing table cannot be had."""
        loop = asyncio.get_running_loop()
        self._fd = self.dataplane.open()
        self._settling = self.dataplane.adopted
        # Before the first look: changes in between are then notified.
        monitor = self._open_monitor()
        try:
            loop.add_reader(self._fd, self._upcalls)
            self.resync("start")
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow(monitor))
                group.create_task(self._settle())
                group.create_task(self._tick(RESYNC, lambda: self.resync("timer")))
                group.create_task(self._tick(LOOK, self._forget_idle))
                group.create_task(self._tick(SILENT, self.exchange.end_silent))
        finally:
            loop.remove_reader(self._fd)
            self._fd = -1
            monitor.close()
            self.dataplane.close()

    # -- what happens -------------------------------------------------------------------------
    def resync(self, cause: str) -> None:
        """Ask for a full pass."""
        self._full = self._full or cause
        self._soon()

    def set_topology(self, topology: Topology, peers: Iterable[str]) -> None:
        """Follow who is in the mesh, and which peers speak; members of who is gone count no longer."""
        self.forwarding.topology = topology
        for vtep in self.exchange.set_peers(topology.vtep, peers):
            if groups := self.remote.change(vtep, (), self.remote.of(vtep)):
                log.info("multicast_members_purged", vtep=vtep, groups=len(groups))
        self._mark(set(self.forwarding.groups))
        self.forwarding.reconsider()

    def receive(self, news: News) -> None:
        """Follow what a peer reports of its members."""
        self._received_at = self._received_at or time.perf_counter()
        self._mark(self.remote.change(news.vtep, news.added, news.removed))

    def configure(self, limits: Limits, namespaces: Set[str]) -> None:
        """Follow limits, which end nothing, and whose pods take part: all, where no namespaces are named."""
        self.local.limits = self.forwarding.limits = limits
        if self._admission.choose(namespaces):
            self.resync("namespaces")

    def take(self, events: Sequence[Event]) -> None:
        """Take in notifications of the kernel."""
        touched: set[str] = set()
        for event in events:
            match event:
                case Overrun():
                    self.resync("overrun")
                case Change(new, BridgeGroup() as member) if self.dataplane.counts(member):
                    if self.local.follow(member.port, member.group, new):
                        self._report({member.group})
                        touched.add(member.group)
                case Change(new, VxlanGroup() as copy):
                    self._copy(new, copy, touched)
                case Change(_, Link() as link) if self.dataplane.is_interface(link.name, link.index):
                    self.resync("link")
                case Change(_, Link() as link) if self._admission.forget(link):
                    self.resync("pod")
        self._mark(touched)

    def _report(self, groups: set[str]) -> None:
        """Let others know of groups that pods here became members of, or none is left of."""
        for group in groups:
            self.exchange.change(group, group in self.local)
            self._observer.member(group, group in self.local)

    def _copy(self, new: bool, entry: VxlanGroup, touched: set[str]) -> None:
        if entry.ifindex != self.dataplane.device_index or entry.source:
            return
        tracked = self.dataplane.tracked.copies
        copy = (entry.group, entry.dst)
        wanted = copy in self.forwarding.desired([entry.group]).copies
        (tracked.add if new else tracked.discard)(copy)
        if wanted != new:
            touched.add(entry.group)
            self._metrics.repairs.labels("copy").inc()
            self._repaired("copy")
            log.info("multicast_drift_repaired", group=entry.group, dst=entry.dst, was_there=new)

    def _upcalls(self) -> None:
        touched: set[str] = set()
        for upcall in self.dataplane.upcalls():
            self._metrics.upcalls.inc()
            if upcall.kind != NO_ENTRY or upcall.group.startswith(LINK_LOCAL):
                continue
            if not self.forwarding.add(upcall.source, upcall.group, upcall.vif):
                self._metrics.refused_flows.inc()
            # The kernel asks about what it does not have, whatever we believe.
            self.dataplane.tracked.flows.pop((upcall.source, upcall.group), None)
            touched.add(upcall.group)
        if touched:
            self._dirty |= touched
            self._run()

    async def _follow(self, monitor: MonitorLike) -> None:
        while events := await monitor.take_all():
            self.take(events)

    async def _tick(self, seconds: float, act: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            act()

    async def _settle(self) -> None:
        await asyncio.sleep(SETTLE)
        if self._settling:
            self._settling = False
            self.resync("settled")

    # -- what is done about it ----------------------------------------------------------------
    def _mark(self, groups: set[str]) -> None:
        self._dirty |= groups
        if groups:
            self._soon()

    def _soon(self) -> None:
        if not self._scheduled and self._fd >= 0:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        started = time.perf_counter()
        try:
            self._pass()
        except NotYetError as reason:
            self.trouble.waits(str(reason))
        except (DataplaneError, NetlinkError) as error:
            self.trouble.failed(str(error))
        now = time.perf_counter()
        self._metrics.pass_seconds.observe(now - started)
        if self._received_at:
            self._metrics.join_seconds.observe(now - self._received_at)
            self._received_at = 0.0
        local, tracked = self.local, self.dataplane.tracked
        self._metrics.groups.labels("local").set(len(local.groups))
        self._metrics.groups.labels("remote").set(len(self.remote.groups))
        self._metrics.refused_joins.set(len(local.refused))
        self._metrics.flows.set(len(tracked.flows))
        self._metrics.copies.set(len(tracked.copies))

    def _pass(self) -> None:
        if self._settling and self.exchange.complete():
            self._settling, self._full = False, "settled"
        cause, self._full = self._full, ""
        groups, self._dirty = self._dirty, set()
        if cause:
            self._admission.ask_again()
            try:
                self._report(self.local.replace(self.dataplane.look()))
                self.dataplane.keep()
                self.exchange.speak()
                self._looked()
            except (DataplaneError, NetlinkError, NotYetError):
                self._full = cause
                raise
        tracked = self.dataplane.tracked
        for flow, forward in tracked.flows.items() if self._settling else ():
            if forward.iif >= 0:
                self.forwarding.add(*flow, forward.iif)
        groups |= self.forwarding.take_displaced()
        groups, part = self.dataplane.about(groups, self.forwarding.groups)
        actual = tracked if cause else part
        desired = self.forwarding.desired(None if cause else groups)
        plan = make_plan(desired, actual)
        if self._settling:
            plan = plan.growing(actual)
        changes = [(flow, tracked.flows.get(flow), new) for flow, new in plan.flows]
        errors = self.dataplane.write(plan) if plan != Plan() else []
        for change in changes:
            self._observer.flow(*change)
        if errors:
            self.trouble.failed(errors[0], len(errors))
        else:
            self.trouble.over()

    def _forget_idle(self) -> None:
        counted = self.dataplane.counters()
        carried = [((flow.source, flow.group), flow.packets + flow.wrong_interface) for flow in counted]
        self._mark(self.forwarding.forget_idle(carried) | self.forwarding.reconsider(all_=True))
