"""Reporting in the status of ClusterNetworkPolicies what cannot be applied."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from quilt_crds.names import CLUSTERNETWORKPOLICY, POLICY_ACCEPTED
from quilt_crds.wire import find_condition
from quilt_events.document import WARNING, About
from quilt_kube.request import ApiError, UnreachableError
from quilt_log import log
from quilt_operator.api.client import Client
from quilt_operator.api.events import EventRecorder
from quilt_operator.core.cluster_policy import SeenPolicy, accepted
from quilt_operator.core.times import rfc3339

# Seconds.
_PAUSE = 0.1
_RETRY = 5.0


class Conditions:
    """Keeps the condition of each policy right."""

    def __init__(self, client: Client, events: EventRecorder) -> None:
        self._client, self._events = client, events
        self._pending: dict[str, SeenPolicy] = {}
        self._wake = asyncio.Event()

    def put(self, policy: SeenPolicy) -> None:
        """Have the status of a policy looked at."""
        self._pending[policy.name] = policy
        self._wake.set()

    def drop(self, name: str) -> None:
        """Enter that a policy is gone."""
        self._pending.pop(name, None)

    async def run(self) -> None:
        """Report until cancelled, at most ten a second."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                policy = self._pending.pop(next(iter(self._pending)))
                try:
                    await self._report(policy)
                except (ApiError, UnreachableError) as error:
                    log.warning("policy_condition_not_written", policy=policy.name, error=str(error))
                    if not (isinstance(error, ApiError) and (error.missing or error.refused)):
                        self._pending.setdefault(policy.name, policy)
                    await asyncio.sleep(_RETRY)
                await asyncio.sleep(_PAUSE)

    async def _report(self, policy: SeenPolicy) -> None:
        before = find_condition(policy.status.conditions, POLICY_ACCEPTED)
        now = accepted(policy).settled(before, rfc3339(datetime.now(UTC)))
        if now == before:
            return
        meta = policy.metadata
        await self._client.apply_status(CLUSTERNETWORKPOLICY, meta.name, meta.uid, {"conditions": [now]})
        if now.status != "True":
            about = About(CLUSTERNETWORKPOLICY.kind, meta.name, meta.uid, CLUSTERNETWORKPOLICY.api)
            self._events.note(about, WARNING, now.reason, now.message)
