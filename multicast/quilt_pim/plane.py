"""The control plane of one node: one of each table, with one clock for all that expires."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from quilt_crds.names import VXLAN_DEVICE
from quilt_kube.aio import wait
from quilt_multicast.view import MulticastState
from quilt_pim.core.announcements import SourceCache
from quilt_pim.core.config import ControlConfig
from quilt_pim.core.events import Event
from quilt_pim.core.neighbors import NeighborTable
from quilt_pim.core.routes import RouteTable
from quilt_pim.core.rpf import Upstream
from quilt_pim.counters import ControlCollector, Counters
from quilt_pim.pim import PimService
from quilt_pim.rpf_provider import RpfProvider
from quilt_pim.subscriptions import Broadcast


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
        self._wake = asyncio.Event()
        self._recheck = asyncio.Event()
        self.pim = PimService(
            self.neighbors,
            self.routes,
            self.rpf,
            self.counters,
            publish=self.publish_all,
            wake=self._wake.set,
        )
        self.collector = ControlCollector(self.counters, lambda: self.state.counters())

    def publish(self, event: Event) -> None:
        """Tell subscribers of a change; never waits."""
        self.broadcast.publish(event)

    def publish_all(self, events: Iterable[Event]) -> None:
        """Tell subscribers of several changes, in order."""
        for event in events:
            self.broadcast.publish(event)

    def set_mesh(self, peers: Iterable[tuple[str, str]], device: str = "") -> None:
        """Follow the mesh: peers that are Up, as `(node, VTEP)`, are neighbors on the VXLAN device."""
        if device and device != self.device:
            self.publish_all(self.neighbors.set_mesh(self.device, ()))
            self.device = device
        # PIM is spoken over IPv4 alone.
        four = [(node, vtep) for node, vtep in peers if ":" not in vtep]
        self.publish_all(self.neighbors.set_mesh(self.device, four))

    def rpf_changed(self) -> None:
        """Look at every route's upstream again: the provider or its entries changed."""
        self._recheck.set()

    def deadlines_changed(self) -> None:
        """Look at the clock again: something new expires."""
        self._wake.set()

    async def run(self) -> None:
        """Work on PIM messages and expire what is over, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pim.run())
            group.create_task(self._keep_time())
            group.create_task(self._keep_upstreams())

    async def _keep_time(self) -> None:
        """Expire what is over and send what is due, sleeping until then."""
        while True:
            self._wake.clear()
            now = time.monotonic()
            self._expire(now)
            due = [
                self.neighbors.next_expiry(),
                self.routes.next_expiry(),
                self.sources.next_expiry(),
                self.pim.speakers.next_tick(now),
            ]
            soonest = min((at for at in due if at is not None), default=None)
            await wait(self._wake, None if soonest is None else max(0.0, soonest - now))

    def _expire(self, now: float) -> None:
        for interface in self.pim.speakers.tick(now):
            self.publish_all(self.neighbors.forget_hellos(interface))
            self.publish_all(self.routes.drop_interface(interface))
        self.publish_all(self.neighbors.expire(now))
        self.publish_all(self.routes.expire(now))
        self.publish_all(self.sources.expire(now))

    async def _keep_upstreams(self) -> None:
        while True:
            await self._recheck.wait()
            self._recheck.clear()
            await self.pim.recheck()
