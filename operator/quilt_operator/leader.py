"""What runs while this process leads: lists, watches, verdicts, workers.

Order matters at the start: the plan and every claim are known before the first node is looked at, so that
nothing is handed out from a partial view.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import kopf
import structlog
from kopf._core.engines.peering import Identity

from quilt_operator import metrics, multicast_key, watching
from quilt_operator.api.client import ApiError, Client, Unreachable
from quilt_operator.api.connection import Connection
from quilt_operator.api.election import Election
from quilt_operator.api.events import EventRecorder
from quilt_operator.api.objects import Objects
from quilt_operator.claiming import Claimer
from quilt_operator.heartbeats import Heartbeats
from quilt_operator.network import NetworkReconciler
from quilt_operator.reconcile import NodeReconciler
from quilt_operator.workqueue import Request, WorkQueue
from quilt_operator.world import NODES, World

log = structlog.get_logger()

# At 5,000 joins at once an answer takes a tenth of a second: this many in flight keep up with the agents.
_WORKERS = 32
# The safety net under the watches; Nodes are large and matter least.
_RESYNC = 300.0
_RESYNC_NODES = 1800.0
# kopf opens a silent watch anew after 70 s; one that is older than this is broken.
_STALE_WATCH = 150.0
_STUCK_QUEUE = 60.0
# The Lease is renewed every 2 s: older means that the API server does not answer.
_BLIND_AFTER = 5.0
# A take-over after a killed leader lasts up to 17 s: longer means that the API server was away.
_OUTAGE = 25.0


@dataclass(frozen=True)
class Services:
    """What the process has before it leads."""

    connection: Connection
    client: Client
    election: Election
    network: str
    namespace: str
    identity: str
    watch_silence: float
    multicast_secret: str = ""


class Leader:
    """The operator at work."""

    def __init__(self, services: Services, started: Callable[[], None]) -> None:
        """`started()` is called once kopf runs: it puts signal handlers of its own."""
        self._services = services
        self._on_start = started
        # A process that was paused may have lost the Lease without knowing it: its successor writes now.
        client = self._client = services.client.fenced(lambda: services.election.held)
        self._objects = Objects(client)
        self._queue = WorkQueue()
        self._world = World(services.network, self._node_changed, self._replanned)
        self._watches = watching.Watches(self._world, self._list)
        self._events = EventRecorder(client, services.identity, time.monotonic)
        self._heartbeats = Heartbeats(
            services.connection, services.client, self._judged, self._guarded, self._is_blind
        )
        self._nodes = NodeReconciler(
            self._world,
            self._objects,
            Claimer(self._world, self._objects),
            self._heartbeats,
            self._events,
        )
        self._network = NetworkReconciler(
            self._world, self._objects, self._heartbeats, self._events, services.namespace
        )
        self._network_request = Request("network", services.network)
        self._started = False

    def checks(self) -> list[str]:
        """What is wrong, for the readiness probe."""
        if not self._started:
            return ["reading the cluster's state"]
        wrong = [
            f"the watch of {plural} is silent for {self._watches.age(plural):.0f} s"
            for plural in watching.PATHS
            if self._watches.age(plural) > _STALE_WATCH
        ]
        wrong += [
            f"the watch of Leases in {watch.namespace} is silent"
            for watch in self._heartbeats.watches.values()
            if not watch.connected
        ]
        if self._is_blind():
            wrong.append("the leader's Lease is not renewed")
        if len(self._queue) and time.monotonic() - self._queue.progressed > _STUCK_QUEUE:
            wrong.append(f"{len(self._queue)} objects wait and nothing moves")
        return wrong

    def measure(self) -> None:
        """Bring all gauges up to date, for a scrape."""
        metrics.QUEUE.set(len(self._queue))
        for plural in watching.PATHS:
            metrics.WATCH_AGE.labels(plural).set(self._watches.age(plural))
        self._network.measure()
        self._heartbeats.measure()

    async def run(self) -> None:
        """Work until cancelled; returns (or raises) only when something that must run has ended."""
        await self._read_all()
        await self._heartbeats.start()
        self._look_at_all()
        self._note_outage()
        self._queue.add(self._network_request)
        endless = [
            self._follow(),
            self._heartbeats.run(),
            self._events.send(),
            self._resync(),
            *(self._queue.work(self._dispatch) for _ in range(_WORKERS)),
        ]
        if secret := self._services.multicast_secret:
            endless.append(multicast_key.keep(self._client, self._services.namespace, secret))
        self._started = True
        try:
            await _first_to_end(endless)
        finally:
            self._heartbeats.stop()

    async def _read_all(self) -> None:
        for plural in watching.PATHS:
            await self._list(plural)
        # Before the first claim: the admission policy for claims takes the network as its parameter.
        await self._network.follow_chart()
        self._network.follow_policy()
        await self._network.look_for_overlaps()
        log.info(
            "state_read",
            nodes=len(self._world.nodes.items),
            claims=len(self._world.claims.items),
            kube_nodes=len(self._world.hosts.items),
        )

    def _note_outage(self) -> None:
        gap = self._services.election.gap
        if gap > _OUTAGE and self._world.book is not None:
            log.warning("nobody_led", seconds=round(gap))
            self._network.outage = gap
            self._network.outage_until = time.monotonic() + self._world.book.plan.policy.timeout

    async def _list(self, plural: str) -> None:
        items, version = await self._services.client.list(watching.PATHS[plural])
        gone = self._world.replace(plural, items, version)
        if gone and self._started:
            log.info("resync_found_deleted", kind=plural, count=gone)

    async def pause(self) -> None:
        """Let no worker begin anything; returns when none is at work."""
        await self._queue.drain()

    async def _follow(self) -> None:
        ready = asyncio.Event()
        running = asyncio.create_task(self._run_kopf(ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        self._on_start()
        try:
            await running
        finally:
            waiting.cancel()
            running.cancel()

    async def _run_kopf(self, ready: asyncio.Event) -> None:
        await kopf.operator(
            registry=watching.registry(self._world, self._services.connection, self._watches),
            settings=watching.settings(self._services.watch_silence),
            standalone=True,
            clusterwide=True,
            # Without one kopf looks up the name of the user, and a container's user id has none.
            identity=Identity(self._services.identity),
            ready_flag=ready,
        )

    async def _resync(self) -> None:
        last_nodes = time.monotonic()
        while True:
            await asyncio.sleep(_RESYNC * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, guards no secret
            due = time.monotonic() - last_nodes >= _RESYNC_NODES
            try:
                for plural in watching.PATHS:
                    if plural != NODES or due:
                        await self._list(plural)
            except (ApiError, Unreachable) as error:
                log.warning("resync_failed", error=str(error))
            else:
                last_nodes = time.monotonic() if due else last_nodes

    async def _dispatch(self, request: Request) -> float | None:
        return await (self._nodes if request.kind == "node" else self._network)(request)

    def _node_changed(self, name: str) -> None:
        if name:
            self._queue.add(Request("node", name))

    def _judged(self, name: str) -> None:
        self._queue.add(Request("node", name), urgent=True)

    def _guarded(self) -> None:
        self._queue.add(self._network_request, urgent=True)

    def _replanned(self) -> None:
        self._queue.add(self._network_request)
        self._look_at_all()

    def _look_at_all(self) -> None:
        """Thousands that are as they should be must not keep the few waiting that have no subnet yet."""
        served = self._world.book.nodes() if self._world.book is not None else set()
        for name in self._world.known_nodes():
            if name in served:
                self._queue.add_spare(Request("node", name))
            else:
                self._node_changed(name)

    def _is_blind(self) -> bool:
        return time.monotonic() - self._services.election.renewed > _BLIND_AFTER


async def _first_to_end(endless: list[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines until the first ends, then end the others; raises what it raised."""
    tasks = [asyncio.create_task(item) for item in endless]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
