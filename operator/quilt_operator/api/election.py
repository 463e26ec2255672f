"""Leader election by a coordination.k8s.io Lease.

The Lease decides who works, not what is correct: a paused leader may act once more before it notices, and
then the claims (unique by name) and resourceVersions stop it. As in every part of this operator, another's
clock is never believed: a holder is gone when its Lease was not seen to change for its duration.

A process leads at most once: who loses the Lease leaves (a restart gives every node a fresh time-out and is
the only way back), and it does so before the Lease ends for others.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from quilt_crds.names import LEASE, OPERATOR_FIELD_MANAGER, OPERATOR_LEASE
from quilt_crds.times import rfc3339_micro
from quilt_kube.request import ApiError, UnreachableError, create, read, replace
from quilt_log import log
from quilt_operator.api.client import Client
from quilt_operator.core.times import parse_time


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: how long a Lease holds, by when it must be renewed, how often that is tried."""

    duration: float = 15.0
    deadline: float = 10.0
    retry: float = 2.0


class Election:
    """One candidate."""

    def __init__(self, client: Client, namespace: str, identity: str, timing: Timing = Timing()) -> None:
        self._client = client
        self._collection = LEASE.path(namespace=namespace)
        self._path = LEASE.path(OPERATOR_LEASE, namespace=namespace)
        self._identity = identity
        self._timing = timing
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = time.monotonic()
        self._ends_at = float("inf")
        self._lease: dict[str, Any] = {}
        self.gap = 0.0
        """Seconds for which nobody had led before, by the wall clock: for people only."""
        self.renewed = -float("inf")
        """Monotonic time of the last renewal that succeeded."""
        self.held_until = -float("inf")
        """Until when the Lease is surely held: nobody else can hold it before its duration is over."""

    async def acquire(self) -> None:
        """Wait until this candidate leads. API failures only prolong the wait."""
        logged = ""
        while True:
            try:
                holder = await self._try_acquire()
            except (ApiError, UnreachableError) as error:
                holder = f"nobody knows: {error}"
            if holder == self._identity:
                self._note_renewal()
                log.info("leadership_acquired", identity=self._identity)
                return
            if holder != logged:
                log.info("waiting_for_leadership", holder=holder)
                logged = holder
            # Jitter, so that several standbys do not collide for ever.
            pause = self._timing.retry * random.uniform(0.8, 1.2)  # noqa: S311
            await asyncio.sleep(min(pause, max(0.1, self._ends_at - time.monotonic())))

    async def keep(self, lost: Callable[[str], None]) -> None:
        """Renew until cancelled; calls `lost` with the reason when that fails for the deadline."""
        while True:
            await asyncio.sleep(self._timing.retry)
            reason = ""
            try:
                async with asyncio.timeout(self._timing.deadline / 2):
                    reason = await self._renew()
            except (ApiError, UnreachableError, TimeoutError) as error:
                if time.monotonic() >= self.held_until:
                    reason = f"not renewed for {self._timing.deadline:g} s: {error!r}"
            if reason:
                lost(reason)
                return

    async def release(self) -> None:
        """Hand over at once: clear the holder, if it is us."""
        try:
            async with asyncio.timeout(2):
                self._lease = await self._client.ask(read(self._path))
                if self._lease["spec"].get("holderIdentity") == self._identity:
                    await self._put("", 1)
                    log.info("leadership_released", identity=self._identity)
        except (ApiError, UnreachableError, TimeoutError) as error:
            log.warning("leadership_not_released", error=str(error))

    async def _try_acquire(self) -> str:
        found = await self._client.find(self._path)
        if found is None:
            body = self._body({"name": OPERATOR_LEASE}, self._identity, self._timing.duration, 0)
            self._lease = await self._client.ask(create(self._collection, body, OPERATOR_FIELD_MANAGER))
            return self._identity
        self._lease = found
        spec = self._lease.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        seen = (holder, str(spec.get("renewTime")))
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
        duration = float(spec.get("leaseDurationSeconds") or self._timing.duration)
        self._ends_at = self._seen_at + duration
        if holder not in {"", self._identity} and time.monotonic() < self._ends_at:
            return holder
        last = parse_time(str(spec.get("renewTime"))) if holder else None
        await self._put(self._identity, self._timing.duration)
        self.gap = (datetime.now(UTC) - last).total_seconds() if last is not None else 0.0
        return self._identity

    async def _renew(self) -> str:
        try:
            await self._put(self._identity, self._timing.duration)
        except ApiError as error:
            if not error.conflict and not error.missing:
                raise
            self._lease = await self._client.ask(read(self._path))
            holder = self._lease["spec"].get("holderIdentity")
            if holder != self._identity:
                return f"the Lease is held by {holder or 'nobody'}"
            await self._put(self._identity, self._timing.duration)
        self._note_renewal()
        return ""

    def _note_renewal(self) -> None:
        self.renewed = time.monotonic()
        self.held_until = self.renewed + self._timing.deadline

    async def _put(self, holder: str, duration: float) -> None:
        spec = self._lease.get("spec") or {}
        changes = int(spec.get("leaseTransitions") or 0) + (holder != spec.get("holderIdentity"))
        body = self._body(self._lease["metadata"], holder, duration, changes)
        if holder == spec.get("holderIdentity"):
            body["spec"]["acquireTime"] = spec.get("acquireTime")
        self._lease = await self._client.ask(replace(self._path, body, OPERATOR_FIELD_MANAGER))

    @staticmethod
    def _body(meta: dict[str, Any], holder: str, duration: float, changes: int) -> dict[str, Any]:
        now = rfc3339_micro(datetime.now(UTC))
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": int(duration),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": changes,
        }
        return LEASE.document(meta, spec=spec)
