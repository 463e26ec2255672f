"""From renewed Leases to verdicts: keeps the times, asks the judge each second, has verdicts carried out.

Before a node is taken down, its agent called unresponsive or a guard begun, the Leases are read once more by
a fresh request. That costs one list per verdict and means that no watch, however silently it died, sets a
node down or marks thousands.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from quilt_crds.names import KUBELET_LEASE_NAMESPACE, LEASE_NAMESPACE
from quilt_crds.wire import Lease
from quilt_kube.request import ApiError, UnreachableError
from quilt_log import log
from quilt_operator import metrics
from quilt_operator.api.client import Client
from quilt_operator.api.election import Election
from quilt_operator.api.leases import LeaseWatch
from quilt_operator.core.health import (
    Guard,
    Health,
    Judgement,
    Policy,
    Pulse,
    accused,
    judge,
    spare,
    withdrawn,
)
from quilt_operator.workqueue import Request

_TICK = 1.0
# A watch whose last word is older than this should have shown what a fresh list shows.
_OVERDUE = 5.0
# Work begins when all Leases were seen, or after this long without verdicts: joins need no Leases.
_FIRST_LISTS = 10.0
# The leader's Lease is renewed every 2 s: older means that the API server does not answer.
_BLIND_AFTER = 5.0


@dataclass
class Heartbeats:
    """Standing verdicts on all nodes of the mesh; `election` is renewed by a process that sees Leases.

    `judged` is called with the node of each changed verdict, `guarded` when withdrawal is stopped or resumed,
    `rewound` when the API server has an older history.
    """

    client: Client
    election: Election
    judged: Callable[[Request], object]
    guarded: Callable[[], object]
    rewound: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._standing: dict[str, Health] = {}
        self._pulses: dict[str, Pulse] = {}
        self._floor = time.monotonic()
        self._agent_floor = self._floor
        self._late = False
        self._unconfirmed = False
        self._policy = Policy()
        self.guard = Guard()
        self.watches = {
            field: LeaseWatch(
                self.client, namespace, partial(self._renewed, field), self._restarted, self.rewound
            )
            for field, namespace in (("agent", LEASE_NAMESPACE), ("kubelet", KUBELET_LEASE_NAMESPACE))
        }

    @property
    def policy(self) -> Policy:
        """The rules by which nodes are judged; after a change everybody gets a full time-out of the new."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        if policy == self._policy:
            return
        # An agent of an older release learns of a shorter interval when it has slept out the longer one.
        asleep = max(0.0, self._policy.interval - policy.interval)
        self._policy = policy
        self._set_floor(time.monotonic() + asleep)

    @property
    def blind(self) -> bool:
        """Whether Leases cannot be seen: the leader's own is not renewed."""
        return time.monotonic() - self.election.renewed > _BLIND_AFTER

    def health(self, name: str, *, down: bool = False, down_for: float = 0.0, spoke: bool = False) -> Health:
        """The verdict on a node; from the first call on it is watched.

        `down` and `down_for` (seconds) are what is known of it then, `spoke` whether its agent ever reported
        something. Who neither spoke nor has a Lease is not judged before it is seen.
        """
        health = self._standing.get(name)
        if health is None:
            seen = spoke or self._has_lease(name)
            since = time.monotonic()
            health = Health(since, seen=seen)
            if down and seen:
                health = replace(health, down=True, changed=since - down_for)
            self._standing[name] = health
        elif spoke and not health.seen:
            health = self._standing[name] = replace(health, seen=True, since=time.monotonic())
        return health

    def forget(self, name: str) -> None:
        """Stop watching a node that left the mesh."""
        self._standing.pop(name, None)
        self._pulses.pop(name, None)

    def _has_lease(self, name: str) -> bool:
        fields = ("agent",) if self._policy.agent_only else self.watches
        return any(self.watches[field].seen.get(name) for field in fields)

    def stop(self) -> None:
        """Observe no more."""
        for watch in self.watches.values():
            watch.stop()

    async def start(self) -> None:
        """Start observing; returns once all Leases were seen, or could not be for a while."""
        for watch in self.watches.values():
            watch.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LISTS):
                for watch in self.watches.values():
                    await watch.first_list.wait()
        self._late = not self._listed()
        if self._late:
            log.warning("leases_not_seen", keeps="every node as it is until they are")
        self._floor = time.monotonic()

    def _listed(self) -> bool:
        return all(watch.first_list.is_set() for watch in self.watches.values())

    async def run(self) -> None:
        """Judge each second until cancelled."""
        while True:
            await asyncio.sleep(_TICK)
            await self.look()

    async def look(self) -> None:
        """Judge all nodes once and have changed verdicts carried out."""
        judgement = self._judge()
        asked = accused(judgement, self._standing)
        if asked or self._guard_begins(judgement.guard):
            seen = await self._look_afresh(judgement)
            # What the lists show may end a silence and a guard; who is accused only now was not looked at.
            judgement = self._judge()
            judgement = spare(
                judgement, accused(judgement, self._standing) - (asked if seen else frozenset())
            )
        self._note_guard(judgement.guard)
        for name, health in judgement.changed.items():
            self._carry_out(name, health)

    def _judge(self) -> Judgement:
        """New verdicts. When a guard ends, those that are not yet back get a full time-out.

        Nodes come back one by one: else the first half to return would release the withdrawal of the other.
        """
        judgement = self._judge_once()
        before, now = self.guard, judgement.guard
        if before.active and not now.active:
            self._set_floor(time.monotonic())
        elif before.agents and not now.agents:
            self._agent_floor = time.monotonic()
        else:
            return judgement
        return self._judge_once()

    def _judge_once(self) -> Judgement:
        return judge(
            self._standing,
            self._pulses,
            self._policy,
            now=time.monotonic(),
            floor=self._floor,
            agent_floor=self._agent_floor,
            blind=self.blind or (self._late and not self._listed()),
        )

    def _guard_begins(self, now: Guard) -> bool:
        before = self.guard
        return not now.blind and ((now.active and not before.active) or (now.agents and not before.agents))

    async def _look_afresh(self, judgement: Judgement) -> bool:
        """Read the Leases that decide once more; whether that worked."""
        of_nodes = judgement.guard.active or withdrawn(judgement, self._standing)
        both = of_nodes and not self._policy.agent_only
        try:
            for field in self.watches if both else ("agent",):
                await self._read_leases(field, self.watches[field])
        except (ApiError, UnreachableError) as error:
            if not self._unconfirmed:
                log.warning("silence_not_confirmed", error=str(error), keeps="every node as it is")
            self._unconfirmed = True
        else:
            self._unconfirmed = False
        return not self._unconfirmed

    async def _read_leases(self, field: str, watch: LeaseWatch) -> None:
        """Count as renewed what differs from what the watch has seen."""
        leases, _ = await self.client.list(watch.path, Lease)
        newer = {lease.name for lease in leases if lease.spec.renew_time != watch.seen.get(lease.name)}
        if newer:
            self._renewed(field, newer)
            if time.monotonic() - watch.received_at > _OVERDUE:
                watch.start()

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
        if _outcome(old) != _outcome(health):
            self.judged(Request("node", name))

    def _note_guard(self, guard: Guard) -> None:
        before, self.guard = self.guard, guard
        if (guard.active, guard.blind) != (before.active, before.blind):
            event = "withdrawal_paused" if guard.active else "withdrawal_resumed"
            log.warning(event, silent=guard.silent, total=guard.total, blind=guard.blind)
        elif guard.agents != before.agents:
            log.warning(
                "agents_silent_at_once" if guard.agents else "agents_responsive_again", total=guard.total
            )
        if (guard.active, guard.blind, guard.agents) != (before.active, before.blind, before.agents):
            self.guarded()

    def measure(self) -> None:
        """Bring the gauges of heartbeats up to date."""
        metrics.GUARD.set(self.guard.active)
        metrics.SILENT.set(self.guard.silent)
        metrics.UNRESPONSIVE.set(sum(item.agent_unresponsive for item in self._standing.values()))
        for watch in self.watches.values():
            metrics.WATCH_AGE.labels(watch.namespace).set(time.monotonic() - watch.received_at)

    def _renewed(self, field: str, names: Iterable[str]) -> None:
        now = time.monotonic()
        # Of nodes that are not watched, as of those that left, nothing is kept.
        for name in self._standing.keys() & set(names):
            self._pulses[name] = replace(self._pulses.get(name, Pulse()), **{field: now})

    def _restarted(self) -> None:
        self._set_floor(time.monotonic())

    def _set_floor(self, moment: float) -> None:
        self._floor = max(self._floor, moment)


def _outcome(health: Health) -> tuple[bool, bool, bool]:
    """What of a verdict others live on."""
    return health.down, health.agent_unresponsive, health.seen
