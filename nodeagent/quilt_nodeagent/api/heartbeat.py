"""The heartbeat: this node's Lease, renewed for as long as the agent lives.

It shares nothing with the dataplane but the event loop: a busy, failing or unreachable kernel or runtime is
reported by conditions, and must not look like a dead node.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from math import inf
from typing import Any

from quilt_crds.names import LEASE, LEASE_NAMESPACE
from quilt_crds.times import rfc3339_micro
from quilt_kube.aio import Client, wait
from quilt_kube.backoff import Backoff
from quilt_kube.request import ApiError, Json, UnreachableError, create, replace
from quilt_log import log
from quilt_nodeagent.metrics import Metrics


@dataclass
class Heartbeat:
    """Renews the Lease `node` each `interval()` seconds; `owner()` is the Node's reference once known."""

    client: Client
    node: str
    metrics: Metrics
    _: KW_ONLY
    interval: Callable[[], float]
    duration: Callable[[], float]
    owner: Callable[[], dict[str, str] | None]

    def __post_init__(self) -> None:
        self._lease: Json | None = None
        self._failing = False
        self._wake = asyncio.Event()
        self.attempted = time.monotonic()

    def stalled(self) -> bool:
        """Whether no attempt was made for three intervals: the task or the event loop hangs."""
        return time.monotonic() - self.attempted > max(30.0, 3 * self.interval())

    def changed(self) -> None:
        """Tell that `interval()` may answer something else: a shorter one counts from the last renewal on."""
        self._wake.set()

    async def run(self) -> None:
        """Renew for ever, at even distances however long a renewal lasts."""
        backoff = Backoff(0.5, 5.0)
        due = time.monotonic()
        while True:
            self.attempted = time.monotonic()
            try:
                await self._renew()
            except (ApiError, UnreachableError) as error:
                self._failed(error)
                due = await self._wait(time.monotonic(), backoff.delay())
            else:
                self._succeeded()
                backoff.reset()
                due = await self._wait(due)

    async def _wait(self, since: float, at_most: float = inf) -> float:
        """Wait for `interval()` from `since` on, or `at_most`; answer when that was due, in no past."""
        while True:
            self._wake.clear()
            due = max(since + min(self.interval(), at_most), time.monotonic())
            if not await wait(self._wake, due - time.monotonic()):
                return due

    async def _renew(self) -> None:
        path = LEASE.path(self.node, namespace=LEASE_NAMESPACE)
        lease = self._lease or await self.client.find(path)
        # Forgotten until the answer is there: after any failure the Lease is read again.
        self._lease = None
        if lease is None:
            request = create(LEASE.path(namespace=LEASE_NAMESPACE), self._document({}))
        else:
            request = replace(path, self._document(lease["metadata"]))
        self._lease = await self.client.ask(request)

    def _document(self, metadata: dict[str, Any]) -> dict[str, Any]:
        kept = ("resourceVersion", "ownerReferences", "labels")
        meta: dict[str, Any] = {"name": self.node, "namespace": LEASE_NAMESPACE}
        meta |= {key: metadata[key] for key in kept if key in metadata}
        if owner := self.owner():
            meta["ownerReferences"] = [owner]
        spec = {
            "holderIdentity": self.node,
            "leaseDurationSeconds": max(1, round(self.duration())),
            "renewTime": rfc3339_micro(datetime.now(UTC)),
        }
        return LEASE.document(meta, spec=spec)

    def _failed(self, error: Exception) -> None:
        self.metrics.lease_failures.inc()
        if not self._failing:
            self._failing = True
            log.warning("lease_renewal_failing", error=str(error), node=self.node)

    def _succeeded(self) -> None:
        self.metrics.lease_renewals.inc()
        if self._failing:
            self._failing = False
            log.info("lease_renewal_recovered", node=self.node)
