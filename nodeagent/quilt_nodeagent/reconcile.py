"""The reconciler: the one writer of the mesh's state, woken by claims, by the kernel and by the clock.

A pass works on what is pending in the tables, a full one after it has looked at the device and read all of
them again. Both are the same walk: plan, write, and what is left is tried again. Nothing is written before
the first complete list of claims, for until then nobody can tell what is stale.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field

from quilt_kube.aio import wait
from quilt_kube.backoff import Backoff
from quilt_log import log
from quilt_netlink import NetlinkError
from quilt_nodeagent.core.device import NotYetError, Target
from quilt_nodeagent.core.overlay import Mark
from quilt_nodeagent.core.peer import Peer
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.core.plan import Plan, make_plan
from quilt_nodeagent.dataplane import Dataplane
from quilt_nodeagent.kernel.device import DeviceError, DeviceKeeper
from quilt_nodeagent.metrics import Metrics
from quilt_nodeagent.news import Repairs

# Seconds. The safety net below the kernel's notifications, the time in which their bursts are collected, and
# how long something may be left undone before the node calls itself out of sync.
RESYNC = 60.0
COALESCE = 0.003
GRACE = 5.0
# So many peers' entries may be refused, and half of all in a larger mesh, before it is this node's fault.
_FEW = 2


@dataclass
class Reconciler:
    """Keeps the kernel as the peer table says. `target()` raises NotYetError while it is not known.

    `care(device)` is called with every full pass, before entries are written; `settled()` is called after
    every pass, for those who report or wait for the result.
    """

    table: PeerTable
    dataplane: Dataplane
    keeper: DeviceKeeper
    metrics: Metrics
    repairs: Repairs
    _: KW_ONLY
    target: Callable[[], Target]
    care: Callable[[str], None]
    settled: Callable[[], None]
    verified: bool = field(default=False, init=False)
    problems: tuple[str, ...] = field(default=(), init=False)
    warnings: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self._wake = asyncio.Event()
        self._dirty: set[Mark] = set()
        self._drift: set[Mark] = set()
        self._retry: set[Mark] = set()
        self._refused: set[Mark] = set()
        self._full = "start"
        self._held_target: Target | None = None
        self._held_own: list[Peer] = []
        self._backoff = Backoff(0.1, 10.0)
        self._retry_at = float("inf")
        self._resync_at = float("inf")
        self._behind_since = float("inf")

    @property
    def in_sync(self) -> bool:
        """Whether a dump showed the kernel as wanted, and what changed since was followed within moments.

        What is being written right now does not count: each join would make every node say so in the API.
        """
        return self.verified and not self.problems and time.monotonic() - self._behind_since < GRACE

    def touch(self, marks: set[Mark]) -> None:
        """Tell that claims changed: what should stand in these places, maybe also our own addresses."""
        self.dataplane.tables.want(marks, self.table.desired_at)
        self._dirty |= marks
        self._wake.set()

    def drifted(self, marks: set[Mark]) -> None:
        """Tell that the kernel changed in these places and is not as wanted there."""
        if marks:
            self._drift |= marks
            self._wake.set()

    def resync(self, cause: str) -> None:
        """Ask for a full pass; `cause` is one word for the metrics."""
        self._full = self._full or cause
        self._wake.set()

    async def run(self) -> None:
        """Reconcile for ever."""
        while True:
            await self._next()
            if not self.table.complete:
                continue
            cause, self._full = self._full, ""
            scope = "full" if cause else "keys"
            started = time.monotonic()
            try:
                await self._pass(cause)
            except NotYetError as reason:
                self._not_now(cause, str(reason))
            except (DeviceError, NetlinkError) as error:
                self._failed(cause, error)
            else:
                self.metrics.reconcile_seconds.labels(scope).observe(time.monotonic() - started)
            self.settled()

    async def _next(self) -> None:
        """Wait for something to do; drift alone waits a little for the rest of its burst."""
        until = min(self._retry_at, self._resync_at) - time.monotonic()
        woken = await wait(self._wake, None if until == float("inf") else max(until, 0))
        if not woken and time.monotonic() >= self._resync_at:
            self._full = self._full or "timer"
        if self._drift and not self._dirty:
            await asyncio.sleep(COALESCE)
        self._wake.clear()

    async def _pass(self, cause: str) -> None:
        # What the device is to be follows from settings, which ask for a full pass, and from our own claims.
        own, target = self.table.own, self._held_target
        if cause or target is None or own != self._held_own:
            target = self.target()
            self._held_own = own
        if target != self._held_target:
            cause = cause or "target"
        expected = self._take()
        if cause:
            self._look(target)
            self.metrics.resyncs.labels(cause).inc()
            self._resync_at = time.monotonic() + random.uniform(0.9, 1.1) * RESYNC  # noqa: S311
        plan = make_plan(self.dataplane.tables, self.dataplane.overlay)
        nothing_new = plan.marks() <= self._refused
        errors = await self.dataplane.write(plan) if plan else []
        self._conclude(errors)
        if self.verified:
            self._count_drift(plan, expected, self._retry if errors else set())
        if not self.verified and not self.problems and self._retry <= self._refused:
            self._verify(dumped=bool(cause) and nothing_new)

    def _verify(self, *, dumped: bool) -> None:
        """Believe only a dump that showed nothing new to do: after the first writes, look once more."""
        if not dumped:
            self.resync("verify")
            return
        self.verified = True
        log.info("dataplane_verified", peers=self.table.routed)

    def _take(self) -> set[Mark]:
        """Return where claims asked for something: what is pending elsewhere is drift."""
        expected = self._dirty | self._retry
        self._dirty, self._drift = set(), set()
        # Kept until the pass concludes: if it fails, what claims asked for is still not drift.
        self._retry = expected
        return expected

    def _look(self, target: Target) -> None:
        index, repaired = self.keeper.ensure(target.device, target.addresses)
        if repaired and target == self._held_target:
            for kind in repaired:
                self.repairs.count(kind)
            log.info("drift_repaired", kinds=repaired, device=target.device.name)
        self.dataplane.index, self.dataplane.device = index, target.device.name
        self.dataplane.overlay = self.table.way.overlay
        self._held_target = target
        self.care(target.device.name)
        self.dataplane.tables.want_all(self.table.desired())
        self.dataplane.look()

    def _conclude(self, errors: list[str]) -> None:
        """Remember what is left of what was pending, and when to try it again."""
        # What changed meanwhile is the next pass's, which is due at once.
        left = self.dataplane.tables.pending - self._dirty - self._drift
        self._retry = left
        if any(
            kind in self.dataplane.overlay.kinds for kind, _ in (left - self._refused if errors else left)
        ):
            # The device itself may be another one: a look costs less than being wrong again.
            self._full = self._full or "retry"
        self._refused = left if errors else set()
        if not errors:
            self._backoff.reset()
        few = bool(errors) and self.dataplane.reached and self._is_few(left)
        if (left or errors) and not few:
            # What is left without an error was overtaken by another change, whose notification is on its way.
            self._behind_since = min(self._behind_since, time.monotonic())
        else:
            self._behind_since = float("inf")
        self._retry_at = time.monotonic() + self._backoff.delay() if left or errors else float("inf")
        self._say(() if few else tuple(errors), tuple(errors) if few else ())
        self._count_peers()

    def _is_few(self, left: set[Mark]) -> bool:
        """Whether what was refused is a matter of those peers rather than of this node."""
        peers = max(Counter(kind for kind, _ in left).values(), default=0)
        return peers <= max(_FEW, self.table.routed // 2)

    def _say(self, errors: tuple[str, ...], refused: tuple[str, ...] = ()) -> None:
        """Take note of what makes the node unready, and of what was `refused` and does not."""
        problems, warnings = _summary(errors), _summary(refused)
        if (problems, warnings) == (self.problems, self.warnings):
            return
        self.problems, self.warnings = problems, warnings
        if shown := errors or refused:
            log.warning("dataplane_problem", errors=shown[:10], failed=len(shown), unready=bool(errors))
        else:
            log.info("dataplane_problem_gone")

    def _count_peers(self) -> None:
        wanted = self.table.routed
        self.metrics.peers_desired.set(wanted)
        pending = len(self.dataplane.tables.routes.differing)
        self.metrics.peers_in_sync.set(max(0, wanted - pending))

    def _count_drift(self, plan: Plan, expected: set[Mark], left: set[Mark]) -> None:
        """Count what was repaired although no claim asked for it; what is `left` by errors is a problem."""
        counts = Counter(kind for kind, _ in plan.marks() - expected - left)
        for kind, number in counts.items():
            self.repairs.count(kind, number)
        if counts:
            log.info("drift_repaired", **{str(kind): number for kind, number in counts.items()})

    def _not_now(self, cause: str, reason: str) -> None:
        self._full = ""
        self._resync_at = time.monotonic() + RESYNC
        self._held_target = None
        if self.problems != (reason,):
            self.problems = (reason,)
            log.info("dataplane_waits", reason=reason, cause=cause)

    def _failed(self, cause: str, error: Exception) -> None:
        self._say((str(error),))
        self.metrics.write_failures.labels("device").inc()
        self._full = cause or "failure"
        # Not woken: the failure would only be repeated before anything could have changed.
        self._retry_at = time.monotonic() + self._backoff.delay()


def _summary(errors: tuple[str, ...]) -> tuple[str, ...]:
    """One sentence of each batch is enough to know what to do; the log has them all."""
    return errors[:1] if len(errors) < 2 else (errors[0], "More entries failed: see the agent's log.")
