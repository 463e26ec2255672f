"""From renewed Leases to verdicts: keeps the times, asks the judge each second, has verdicts carried out.

Before a node is taken down its Leases are read once more by a fresh request. That costs one list per
withdrawal and means that no watch, however silently it died, ever takes a node down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog

from quilt_crds.names import KUBELET_LEASE_NAMESPACE, LEASE_NAMESPACE
from quilt_operator import metrics
from quilt_operator.api.client import ApiError, Client, Unreachable
from quilt_operator.api.connection import Connection
from quilt_operator.api.leases import LeaseWatch
from quilt_operator.core.health import Guard, Health, Judgement, Policy, Pulse, judge, spare, withdrawn

log = structlog.get_logger()

_TICK = 1.0
_POLL = 0.05
# A watch whose last word is older than this should have shown what a fresh list shows.
_OVERDUE = 5.0


class Heartbeats:
    """Standing verdicts on all nodes of the mesh."""

    def __init__(
        self,
        connection: Connection,
        client: Client,
        judged: Callable[[str], None],
        guarded: Callable[[], None],
        blind: Callable[[], bool],
    ) -> None:
        """Make one; `blind()` says that Leases cannot be seen.

        `judged(node)` is called for each changed verdict, `guarded()` when withdrawal is stopped or resumed.
        """
        self._client = client
        self._judged = judged
        self._guarded = guarded
        self._blind = blind
        self._loop = asyncio.get_running_loop()
        self._standing: dict[str, Health] = {}
        self._pulses: dict[str, Pulse] = {}
        self._floor = time.monotonic()
        self.policy = Policy()
        self.guard = Guard()
        self.watches = {
            field: LeaseWatch(connection, namespace, self._from_thread(field), self._restarted)
            for field, namespace in (("agent", LEASE_NAMESPACE), ("kubelet", KUBELET_LEASE_NAMESPACE))
        }

    def health(self, name: str, *, down: bool = False) -> Health:
        """The verdict on a node; from the first call on it is watched, `down` being what is known of it."""
        health = self._standing.get(name)
        if health is None:
            now = time.monotonic()
            health = Health(since=now, down=down, changed=now) if down else Health(since=now)
            self._standing[name] = health
        return health

    def forget(self, name: str) -> None:
        """Stop watching a node that left the mesh."""
        self._standing.pop(name, None)

    def stop(self) -> None:
        """End the threads."""
        for watch in self.watches.values():
            watch.stop()

    async def start(self) -> None:
        """Start observing; returns once all Leases were seen."""
        for watch in self.watches.values():
            watch.start()
        while not all(  # noqa: ASYNC110 - the events are of threads
            watch.listed.is_set() for watch in self.watches.values()
        ):
            await asyncio.sleep(_POLL)
        self._floor = time.monotonic()

    async def run(self) -> None:
        """Judge each second until cancelled."""
        while True:
            await asyncio.sleep(_TICK)
            await self.look()

    async def look(self) -> None:
        """Judge all nodes once and have changed verdicts carried out."""
        judgement = self._judge()
        if self.guard.active and not judgement.guard.active:
            # Nodes come back one by one: those that are not yet back get a full time-out, or the first
            # half to return would release the withdrawal of the other.
            self._floor = time.monotonic()
            judgement = self._judge()
        dying = withdrawn(judgement, self._standing)
        if dying:
            judgement = await self._confirm(judgement, dying)
        self._note_guard(judgement.guard)
        for name, health in judgement.changed.items():
            self._carry_out(name, health)

    def _judge(self) -> Judgement:
        return judge(
            self._standing,
            self._pulses,
            self.policy,
            now=time.monotonic(),
            floor=self._floor,
            blind=self._blind(),
        )

    async def _confirm(self, judgement: Judgement, dying: frozenset[str]) -> Judgement:
        alive: set[str] = set()
        try:
            for field, watch in self.watches.items():
                alive |= await self._newer(field, watch, dying)
        except (ApiError, Unreachable) as error:
            log.warning("withdrawal_not_confirmed", nodes=sorted(dying)[:10], error=str(error))
            alive |= dying
        return spare(judgement, alive) if alive else judgement

    async def _newer(self, field: str, watch: LeaseWatch, names: frozenset[str]) -> set[str]:
        """Those of `names` whose Lease differs from what the watch has seen."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{watch.namespace}/leases"
        leases, _ = await self._client.list(path)
        seen = watch.snapshot()
        now_there = {
            lease["metadata"]["name"]: (lease.get("spec") or {}).get("renewTime") or "" for lease in leases
        }
        newer = {name for name in names & now_there.keys() if now_there[name] != seen.get(name)}
        if newer:
            self._renewed(field, newer, time.monotonic())
            if time.monotonic() - watch.heard > _OVERDUE:
                watch.distrust()
        return newer

    def _carry_out(self, name: str, health: Health) -> None:
        old = self._standing.get(name)
        if old is None:
            return
        self._standing[name] = health
        if old.down != health.down:
            log.info("node_down" if health.down else "node_up", node=name, strikes=health.strikes)
            metrics.TRANSITIONS.labels("down" if health.down else "up").inc()
        if old.agent_unresponsive != health.agent_unresponsive:
            log.info("agent_unresponsive" if health.agent_unresponsive else "agent_responsive", node=name)
        if (old.down, old.agent_unresponsive) != (health.down, health.agent_unresponsive):
            self._judged(name)

    def _note_guard(self, guard: Guard) -> None:
        before, self.guard = self.guard, guard
        if (guard.active, guard.blind) != (before.active, before.blind):
            event = "withdrawal_paused" if guard.active else "withdrawal_resumed"
            log.warning(event, silent=guard.silent, total=guard.total, blind=guard.blind)
            self._guarded()

    def measure(self) -> None:
        """Bring the gauges of heartbeats up to date."""
        metrics.GUARD.set(self.guard.active)
        metrics.SILENT.set(self.guard.silent)
        metrics.UNRESPONSIVE.set(sum(item.agent_unresponsive for item in self._standing.values()))
        for watch in self.watches.values():
            metrics.WATCH_AGE.labels(watch.namespace).set(time.monotonic() - watch.heard)

    def _from_thread(self, field: str) -> Callable[[Iterable[str]], None]:
        def renewed(names: Iterable[str]) -> None:
            self._loop.call_soon_threadsafe(self._renewed, field, names, time.monotonic())

        return renewed

    def _renewed(self, field: str, names: Iterable[str], now: float) -> None:
        for name in names:
            pulse = self._pulses.get(name, Pulse())
            self._pulses[name] = Pulse(now, pulse.kubelet) if field == "agent" else Pulse(pulse.agent, now)

    def _restarted(self) -> None:
        self._loop.call_soon_threadsafe(self._set_floor, time.monotonic())

    def _set_floor(self, now: float) -> None:
        self._floor = now
