"""Multicast as a part of the agent: on while the network says so and everything it needs is there.

Turned off it leaves nothing: copies, rules and the routing table go. A stopping agent leaves the copies, and
its successor sweeps those that nobody needs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from quilt_crds.names import BRIDGE_DEVICE, UP
from quilt_crds.wire_network import MulticastSpec
from quilt_kube.backoff import Backoff
from quilt_log import log
from quilt_multicast.core.forwarding import Topology
from quilt_multicast.core.members import limits_of
from quilt_multicast.core.mesh import Peer
from quilt_multicast.core.sync import Sync
from quilt_multicast.dataplane import MulticastDataplane
from quilt_multicast.engine import Engine, Observer
from quilt_multicast.exchange import Exchange, MakeSocket, udp_socket
from quilt_multicast.keeper import Keeper
from quilt_multicast.metrics import MulticastMetrics
from quilt_multicast.mroute import MrouteError, MulticastTable
from quilt_multicast.view import MulticastState
from quilt_netlink import Monitor, MonitorLike, MulticastKernel, NetlinkError

# Seconds in which claims are collected: a large mesh brings many at once.
_COALESCE = 0.02
# Bytes; the chart makes 32.
SHORTEST_KEY = 16


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the agent knows: `device` is empty until the mesh's device exists, `claims` are the peers'."""

    settings: MulticastSpec
    device: str
    own: tuple[Peer, ...]
    claims: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class Host:
    """How to reach this node's network namespace: tests have several nodes in one process."""

    open_kernel: Callable[[], MulticastKernel] = MulticastKernel.open
    open_table: Callable[[], MulticastTable] = MulticastTable.open
    open_monitor: Callable[[], MonitorLike] = lambda: Monitor(("group", "link"))
    make_socket: MakeSocket = udp_socket


class Multicast:
    """One node's multicast. `wanted()` is asked after each `changed()`; None: not known yet.

    `repaired` is called with the kind of each entry that others changed and that is repaired.
    """

    def __init__(
        self,
        wanted: Callable[[], Wanted | None],
        key_file: Path,
        metrics: MulticastMetrics,
        *,
        host: Host | None = None,
        observer: Observer | None = None,
        reported: Callable[[], None] = lambda: None,
        repaired: Callable[[str], None] = lambda _kind: None,
        keeper: Keeper | None = None,
    ) -> None:
        self._wanted = wanted
        self._key_file = key_file
        self._metrics = metrics
        self._host = host or Host()
        self._observer = observer
        self._reported = reported
        self._repaired = repaired
        self._keeper = keeper
        self._wake = asyncio.Event()
        self._engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._device = ""
        self._settings = MulticastSpec()
        self._fault = ""
        self._left_clean = False
        self._started = False
        self._again_at = float("-inf")
        self._backoff = Backoff(0.2, 10.0)
        self.state = MulticastState(lambda: self._engine)
        metrics.serve_traffic(self.state.traffic)

    @property
    def problems(self) -> list[str]:
        """What is wrong with multicast here, as sentences; empty while it is off."""
        parts = [self._fault]
        if self._engine is not None:
            parts += [self._engine.trouble.problem, self._engine.exchange.problem]
        return [part for part in parts if part]

    def changed(self) -> None:
        """Tell that something about what is wanted may have changed."""
        self._wake.set()

    def keep(self) -> None:
        """Have the runtime keep the routing table: it is a new one, which holds nothing yet."""
        if self._engine is not None:
            self._engine.dataplane.keep()

    async def run(self) -> None:
        """Follow what is wanted for ever; the kernel stays as it is when this ends."""
        try:
            while True:
                await self._wake.wait()
                await asyncio.sleep(_COALESCE)
                self._wake.clear()
                try:
                    await self._follow()
                except (MrouteError, NetlinkError, OSError) as error:
                    self._failed(error)
                    await self._stop()
        finally:
            await self._stop()

    async def _follow(self) -> None:
        wanted = self._wanted()
        if wanted is None:
            return
        self._settings = wanted.settings
        if not wanted.settings.enabled:
            await self._off(wanted)
            return
        if not wanted.device or not wanted.own:
            return
        ended = self._task is None or self._task.done()
        if ended and asyncio.get_running_loop().time() < self._again_at:
            return  # Whatever else changed: what made it end is not over yet.
        if ended or wanted.device != self._device:
            await self._stop()
            self._start(wanted)
        self._set_peers(wanted)

    def _start(self, wanted: Wanted) -> None:
        key = self._read_key()
        kernel = self._host.open_kernel()
        dataplane = MulticastDataplane(
            kernel, BRIDGE_DEVICE, wanted.device, self._host.open_table, self._keeper
        )
        self._left_clean = False
        sync = Sync(time.time_ns() // 1000, lambda: self._settings.max_groups_per_node)
        exchange = Exchange(sync, key, self._metrics, self._host.make_socket)
        engine = Engine(
            dataplane,
            exchange,
            self._metrics,
            open_monitor=self._host.open_monitor,
            observer=self._observer,
            looked=self._looked,
            repaired=self._repaired,
        )
        self._engine, self._device = engine, wanted.device
        self._task = asyncio.create_task(self._serve(engine, kernel))

    def _looked(self) -> None:
        """The engine has read all that there is: multicast is started, whatever came of it."""
        if not self._started:
            self._started = True
            self._metrics.enabled.set(1)
            log.info("multicast_started", device=self._device)
            self._well()

    async def _serve(self, engine: Engine, kernel: MulticastKernel) -> None:
        try:
            await engine.run()
        except* (MrouteError, NetlinkError, OSError) as group:
            self._failed(group.exceptions[0])
        finally:
            kernel.close()

    def _failed(self, error: Exception) -> None:
        self._say(str(error))
        loop = asyncio.get_running_loop()
        self._again_at = loop.time() + self._backoff.delay()
        loop.call_at(self._again_at, self.changed)

    def _set_peers(self, wanted: Wanted) -> None:
        if self._engine is None:
            return
        own = [claim.cidr for claim in wanted.own if ":" not in claim.cidr]
        up = [
            claim for claim in wanted.claims if claim.phase == UP and claim.host_ip and ":" not in claim.cidr
        ]
        topology = Topology(own, up)
        # A node with several subnets speaks from its lowest, like Topology.vtep.
        up.sort(key=lambda peer: IPv4Address(peer.vtep), reverse=True)
        voices = {peer.node: peer for peer in up}
        self._engine.configure(limits_of(self._settings), frozenset(self._settings.namespaces))
        self._engine.set_topology(topology, [peer.vtep for peer in voices.values()])
        self._well()

    def _well(self) -> None:
        """Forget an earlier failure once the engine really runs: one that only began may fail as before."""
        if self._engine is not None and self._started and not self._engine.trouble.problem:
            self._backoff.reset()
            self._say("")

    async def _off(self, wanted: Wanted) -> None:
        await self._stop()
        self._say("")
        if self._left_clean or not wanted.device:
            return
        with self._host.open_kernel() as kernel:
            MulticastDataplane(kernel, BRIDGE_DEVICE, wanted.device).sweep()
        if self._keeper:
            self._keeper.drop()
        self._left_clean = True

    async def _stop(self) -> None:
        if self._engine is not None:
            self._engine.exchange.close()
        task, self._task = self._task, None
        self._engine = None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if self._started:
            self._started = False
            self._metrics.enabled.set(0)
            log.info("multicast_stopped")

    def _read_key(self) -> bytes:
        try:
            key = self._key_file.read_bytes().strip()
        except OSError as error:
            raise OSError(
                f"Multicast is on in the QuiltNetwork, but its key {self._key_file} cannot be read "
                f"({error.strerror}): set network.multicast.enabled in the chart, which makes it."
            ) from error
        if len(key) < SHORTEST_KEY:
            raise OSError(
                f"The multicast key {self._key_file} has {len(key)} bytes; {SHORTEST_KEY} are needed."
            )
        return key

    def _say(self, problem: str) -> None:
        if problem == self._fault:
            return
        self._fault = problem
        if problem:
            log.warning("multicast_not_running", error=problem)
        self._reported()
