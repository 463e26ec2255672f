"""The control plane of one node: one of each table, with one clock for all that expires.

What PIM messages do: Hellos make neighbors, Join/Prune from neighbors make routes, strangers nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from math import inf

from quilt_crds.names import VXLAN_DEVICE
from quilt_kube.aio import wait
from quilt_log import log
from quilt_multicast.view import MulticastState
from quilt_pim import interfaces
from quilt_pim.core.announcements import SourceCache
from quilt_pim.core.config import ControlConfig
from quilt_pim.core.neighbors import NeighborTable, elect
from quilt_pim.core.pim import Entry, Hello, JoinPrune, PimError, parse
from quilt_pim.core.routes import OVERRIDE, RouteTable
from quilt_pim.core.rpf import Upstream
from quilt_pim.core.validate import ControlError
from quilt_pim.counters import ControlCollector, Counters
from quilt_pim.rpf_provider import Found, RpfProvider
from quilt_pim.speakers import ALL_PIM_ROUTERS, Speakers
from quilt_pim.subscriptions import Broadcast

# Join/Prune messages that wait for the RPF provider; more are dropped, as their senders repeat them.
_QUEUE = 256
# Log lines about routers that are no neighbors.
_STRANGERS = 64


class ControlPlane:
    """Neighbors, routes, sources, RPF and events; `serving` is set while its sockets answer.

    All methods belong to the event loop's thread. `publish` and `set_mesh` may be called before `run` too.
    """

    def __init__(
        self,
        config: ControlConfig,
        state: MulticastState | None = None,
        *,
        device: str = VXLAN_DEVICE,
        upstream: Upstream = lambda _source: None,
    ) -> None:
        self.config = config
        self.state = state or MulticastState()
        self.device = device
        self.upstream = upstream
        self.counters = Counters()
        self.neighbors = NeighborTable()
        self.routes = RouteTable()
        self.sources = SourceCache()
        self.rpf = RpfProvider(config.rpf_provider, config.rpf_cache_ttl, self.counters)
        self.broadcast = Broadcast(config.event_buffer_size, config.event_rate, self.counters)
        self.serving = asyncio.Event()
        self.publish = self.broadcast.publish
        self.speakers = Speakers(self.receive)
        self._strangers: set[tuple[str, str]] = set()
        self._queue: asyncio.Queue[tuple[str, str, JoinPrune]] = asyncio.Queue(_QUEUE)
        self._deadlines, self._upstreams = asyncio.Event(), asyncio.Event()
        # To be called when something new expires, and when the RPF provider or its entries changed, as every
        # route's upstream is then looked at again.
        self.deadlines_changed, self.rpf_changed = self._deadlines.set, self._upstreams.set
        self.collector = ControlCollector(self.counters)

    def set_mesh(self, peers: Iterable[tuple[str, str]], device: str = "") -> None:
        """Follow the mesh: peers that are Up, as `(node, VTEP)`, are neighbors on the VXLAN device."""
        if device and device != self.device:
            self.publish(*self.neighbors.set_mesh(self.device, ()))
            self.device = device
        # PIM is spoken over IPv4 alone.
        four = [(node, vtep) for node, vtep in peers if ":" not in vtep]
        self.publish(*self.neighbors.set_mesh(self.device, four))

    async def run(self) -> None:
        """Work on PIM messages and expire what is over, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_routes())
            group.create_task(self._keep_time())
            group.create_task(self._keep_upstreams())

    async def _keep_time(self) -> None:
        """Expire what is over and send what is due, sleeping until then."""
        while True:
            self._deadlines.clear()
            now = time.monotonic()
            self._expire(now)
            soonest = min(
                self.neighbors.next_expiry(),
                self.routes.next_expiry(),
                self.sources.next_expiry(),
                self.speakers.next_tick(now),
            )
            await wait(self._deadlines, None if soonest == inf else max(0.0, soonest - now))

    def _expire(self, now: float) -> None:
        for interface in self.speakers.tick(now):
            self.publish(*self.neighbors.forget_hellos(interface))
            self.publish(*self.routes.drop_interface(interface))
        self.publish(*self.neighbors.expire(now))
        self.publish(*self.routes.expire(now))
        self.publish(*self.sources.expire(now))

    async def _keep_upstreams(self) -> None:
        while True:
            await self._upstreams.wait()
            self._upstreams.clear()
            await self._recheck()

    async def _recheck(self) -> None:
        """Ask for every route's upstream again, as the provider or its entries changed."""
        for route in list(self.routes):
            for interface in route.interfaces:
                verdict = await self.rpf.joins(route.root, interface)
                if verdict.passed:
                    self.publish(*self.routes.set_upstream(route.key, verdict.info))
                else:
                    self._refused(interface, route.root, verdict)
                    gone = Entry(route.key.group, route.root, wildcard=route.key.source is None)
                    self.publish(*self.routes.prune(gone, interface, 0.0, time.monotonic()))

    async def _keep_routes(self) -> None:
        """Work on accepted Join/Prune messages in order, for ever."""
        while True:
            interface, source, message = await self._queue.get()
            try:
                await self._apply(interface, source, message)
            except ControlError as error:
                self.counters["pim_dropped"] += 1
                log.warning("pim_join_dropped", interface=interface, neighbor=source, error=str(error))

    def receive(self, interface: str, source: str, destination: str, message: bytes) -> None:
        """Take in one PIM packet; whatever is wrong with it is counted, nothing is raised."""
        own = self._own_address(interface)
        if source == own or destination != ALL_PIM_ROUTERS:
            self.counters["pim_ignored"] += 1
            return
        try:
            read = parse(message)
        except PimError as error:
            self.counters["pim_invalid"] += 1
            log.debug("pim_invalid", interface=interface, source=source, error=str(error))
            return
        if isinstance(read, Hello):
            self._hello(interface, source, read)
        elif isinstance(read, JoinPrune):
            self._accept(interface, source, read, own)
        else:
            self.counters["pim_ignored"] += 1

    def designated(self, interface: str) -> str | None:
        """Address of the interface's designated router; we stand for election where we send Hellos."""
        standing = [(n.address, n.dr_priority) for n in self.neighbors.on(interface)]
        speaker = self.speakers.get(interface)
        own = self._own_address(interface)
        if speaker is not None and not speaker.passive and own is not None:
            standing.append((own, speaker.priority))
        return elect(standing)

    def _hello(self, interface: str, source: str, hello: Hello) -> None:
        self.counters["hellos_received"] += 1
        held = self.neighbors.get(interface, source)
        before = held.hello.generation_id if held and held.hello else None
        fresh = held is None or held.hello is None or before != hello.generation_id
        try:
            self.publish(*self.neighbors.receive(interface, source, hello, time.monotonic()))
        except ControlError as error:
            self.counters["pim_dropped"] += 1
            log.warning("pim_hello_dropped", interface=interface, error=str(error))
            return
        if fresh and hello.holdtime:
            self.speakers.hello_soon(interface, time.monotonic())
        self.deadlines_changed()

    def _accept(self, interface: str, source: str, message: JoinPrune, own: str | None) -> None:
        if self.neighbors.get(interface, source) is None:
            # RFC 7761 §4.5: from a router that is no neighbor nothing is accepted.
            self.counters["stranger_refused"] += 1
            # One line for each, and no more than so many: everybody on the link can send these.
            if len(self._strangers) < _STRANGERS and (interface, source) not in self._strangers:
                self._strangers.add((interface, source))
                log.warning("pim_stranger_refused", interface=interface, source=source)
        elif message.upstream != own:
            self.counters["not_for_us"] += 1
        elif self._queue.full():
            self.counters["pim_dropped"] += 1
        else:
            self._queue.put_nowait((interface, source, message))

    async def _apply(self, interface: str, source: str, message: JoinPrune) -> None:
        entries = [e for e in (*message.joins, *message.prunes) if e.wildcard or not e.rpt]
        roots = list(dict.fromkeys(entry.source for entry in entries))
        answers = await asyncio.gather(*(self.rpf.joins(root, interface) for root in roots))
        verdicts = dict(zip(roots, answers, strict=True))
        if self.neighbors.get(interface, source) is None:
            return  # It went while the provider was asked.
        now = time.monotonic()
        # Where others are on the link they may object to a prune.
        delay = OVERRIDE if len(self.neighbors.on(interface)) > 1 else 0.0
        for entry in message.joins:
            if self._passes(entry, interface, verdicts):
                info = verdicts[entry.source].info
                self.counters["joins_accepted"] += 1
                self.publish(*self.routes.join(entry, interface, info, message.holdtime, now))
        for entry in message.prunes:
            if self._passes(entry, interface, verdicts):
                self.counters["prunes_accepted"] += 1
                self.publish(*self.routes.prune(entry, interface, delay, now))
        self.deadlines_changed()

    def _passes(self, entry: Entry, interface: str, verdicts: dict[str, Found]) -> bool:
        if entry.source not in verdicts:
            # (S,G,rpt): pruning one source off a shared tree that is not built here.
            self.counters["pim_ignored"] += 1
            return False
        verdict = verdicts[entry.source]
        if not verdict.passed:
            self._refused(interface, entry.source, verdict)
        return verdict.passed

    def _refused(self, interface: str, source: str, verdict: Found) -> None:
        self.counters["rpf_refused"] += 1
        log.debug("rpf_refused", interface=interface, source=source, reason=verdict.reason)

    def _own_address(self, interface: str) -> str | None:
        try:
            return interfaces.look(interface).address
        except ControlError:
            return None
