"""What runs while this process leads: watches, verdicts, workers.

Order matters at the start: everything is known before the first node is looked at, so that nothing is handed
out from a partial view.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from quilt_kube.request import ApiError, UnreachableError
from quilt_log import log
from quilt_operator import metrics, multicast_key
from quilt_operator.api.client import Client
from quilt_operator.api.election import Election
from quilt_operator.api.events import EventRecorder
from quilt_operator.audit import PATHS, Audit
from quilt_operator.claim_watch import ClaimWatch
from quilt_operator.heartbeats import Heartbeats
from quilt_operator.network import NetworkReconciler
from quilt_operator.policies.feature import Policies
from quilt_operator.reconcile import NodeReconciler
from quilt_operator.watching import Memo, Watches
from quilt_operator.workqueue import Handler, Request, WorkQueue
from quilt_operator.world import World

# At 5,000 joins at once an answer needs a tenth of a second: this many in flight keep up with the agents.
_WORKERS = 32
_RETRY = 2.0
# A silent watch is opened again after 70 s; one that is older than this is broken.
_STALE_WATCH = 150.0
_STUCK_QUEUE = 60.0
# A take-over after a killed leader lasts up to 17 s: longer means that the API server was away.
_OUTAGE = 25.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line decides."""

    namespace: str
    identity: str
    network: str
    health_addr: str
    watch_silence: float
    audit_interval: float
    multicast_secret: str = ""


class Leader:
    """The operator at work, over the connections of `everyday`, whose Lease `election` keeps."""

    def __init__(self, everyday: Client, election: Election, options: Options) -> None:
        self._election, self._options = election, options
        # A process that was paused may have lost the Lease without knowing it: its successor writes now.
        client = self._client = everyday.fenced(election)
        self._queue = WorkQueue()
        self._world = World(options.network, self._node_changed, self._replanned)
        self._audit = Audit(client, self._world, options.audit_interval)
        loop, silence = asyncio.get_running_loop(), options.watch_silence
        memo = Memo(loop, self._world, self._audit, everyday, silence)
        self._watches = Watches(memo, options.identity)
        self._claims = ClaimWatch(client, self._world, silence)
        self._events = EventRecorder(client, options.identity, time.monotonic)
        self._network_request = Request("network", options.network)
        self._rewound = asyncio.Event()
        self._heartbeats = Heartbeats(
            client,
            election,
            partial(self._queue.add, urgent=True),
            partial(self._queue.add, self._network_request, urgent=True),
            self._rewound.set,
        )
        nodes = NodeReconciler(self._world, client, self._heartbeats, self._events)
        self._network = NetworkReconciler(
            self._world, client, self._heartbeats, self._events, options.namespace
        )
        self._policies = Policies(client.prompt(), self._world, self._events, silence)
        self._handlers: dict[str, Handler] = {"node": nodes, "network": self._network}
        self._ready = asyncio.Event()

    def checks(self) -> list[str]:
        """What is wrong, for the readiness probe."""
        if not self._ready.is_set():
            return ["reading the cluster's state"]
        lacking = self._audit.lacking.items()
        wrong = [f"the watch of {plural} has not shown {count} objects" for plural, count in lacking]
        wrong += [
            f"the watch of Leases in {watch.namespace} is silent"
            for watch in self._heartbeats.watches.values()
            if not watch.alive
        ]
        if self._claims.age > _STALE_WATCH:
            wrong.append(f"the watch of {self._claims.name} is silent for {self._claims.age:.0f} s")
        wrong += [f"the watch of {name} is silent" for name in self._policies.stale(_STALE_WATCH)]
        if self._heartbeats.blind:
            wrong.append("the leader's Lease is not renewed")
        if len(self._queue) and time.monotonic() - self._queue.progressed > _STUCK_QUEUE:
            wrong.append(f"{len(self._queue)} objects wait and nothing moves")
        return wrong

    def measure(self) -> None:
        """Bring all gauges up to date, for a scrape."""
        metrics.QUEUE.set(len(self._queue))
        for plural in PATHS:
            metrics.WATCH_AGE.labels(plural).set(self._audit.age(plural))
        metrics.WATCH_AGE.labels(self._claims.name).set(self._claims.age)
        self._network.measure()
        self._policies.measure()
        self._heartbeats.measure()

    async def run(self) -> None:
        """Work until `end`; returns (or raises) only when something that must run has ended."""
        # The view keeps the newest state of everything: of an older history another process makes one. Leases
        # are written all the time: their watches know best how far the history was.
        endless = [self._watches.run(), self._begin(), self._events.send(), self._rewound.wait()]
        if secret := self._options.multicast_secret:
            endless.append(multicast_key.keep(self._client, self._options.namespace, secret))
        self._claims.start()
        await first_to_end(*endless)

    async def _begin(self) -> None:
        """Wait until all is known; then work and judge."""
        await self._claims.complete.wait()
        await self._audit.complete.wait()
        await self._prepare_network()
        await self._heartbeats.start()
        log.info(
            "state_read",
            nodes=len(self._world.nodes.items),
            claims=len(self._world.claims.items),
            kube_nodes=len(self._world.hosts.items),
        )
        self._note_outage()
        self._queue.add(self._network_request)
        self._ready.set()
        self._look_at_all()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._heartbeats.run())
            tasks.create_task(self._policies.run())
            for _ in range(_WORKERS):
                tasks.create_task(self._queue.work(self._handlers))

    async def _prepare_network(self) -> None:
        # Before the first claim: the admission policy for claims uses the network as its parameter.
        while True:
            try:
                await self._network.follow_chart()
                self._network.follow_policy()
                await self._network.look_for_overlaps()
                return
            except (ApiError, UnreachableError) as error:
                log.warning("network_not_prepared", error=str(error))
                await asyncio.sleep(_RETRY)

    def _note_outage(self) -> None:
        gap = self._election.gap
        if gap > _OUTAGE and self._world.book is not None:
            log.warning("nobody_led", seconds=round(gap))
            self._network.outage = gap
            self._network.outage_until = time.monotonic() + self._world.book.plan.policy.timeout

    async def pause(self) -> None:
        """Let no worker begin anything; returns when none is at work."""
        await self._queue.drain()

    def end(self) -> None:
        """Follow nothing any more, and have `run` return."""
        self._heartbeats.stop()
        self._claims.stop()
        self._watches.end()

    def _node_changed(self, name: str) -> None:
        # Before that it is only read; then all are looked at.
        if name and self._ready.is_set():
            self._queue.add(Request("node", name))

    def _replanned(self) -> None:
        self._policies.replanned()
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


async def first_to_end(*endless: Coroutine[Any, Any, object]) -> None:
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
