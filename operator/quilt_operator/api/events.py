"""Kubernetes Events: news for people, aggregated and bounded.

Events are a courtesy and must never cost the mesh anything: repetitions become one Event with a count, a
burst is cut off and counted, a failed one is dropped.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from quilt_crds.names import EVENT, OPERATOR_FIELD_MANAGER
from quilt_crds.times import rfc3339_micro
from quilt_events.document import MOST_TEXT, NAMESPACE, About, Writer, document
from quilt_kube.request import ApiError, UnreachableError, create, patch
from quilt_log import log
from quilt_operator import metrics
from quilt_operator.api.client import Client

_QUEUED = 200
_PAUSE = 0.1
_SERIES_SECONDS = 600.0
_REMEMBERED = 1000


@dataclass
class _Series:
    name: str
    count: int
    last: float


@dataclass
class EventRecorder:
    """Takes Events at once and sends them at leisure."""

    client: Client
    identity: str
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        self._queue: deque[tuple[About, str, str, str]] = deque()
        self._series: dict[tuple[str, str, str], _Series] = {}
        self._wake = asyncio.Event()

    def note(self, about: About, type_: str, reason: str, message: str) -> None:
        """Have an Event sent; dropped when too many wait already."""
        if len(self._queue) >= _QUEUED:
            metrics.EVENTS_DROPPED.inc()
            return
        self._queue.append((about, type_, reason, message))
        self._wake.set()

    async def send(self) -> None:
        """Send until cancelled, at most ten a second."""
        while True:
            while not self._queue:
                self._wake.clear()
                await self._wake.wait()
            try:
                await self._send(*self._queue.popleft())
            except (ApiError, UnreachableError) as error:
                metrics.EVENTS_DROPPED.inc()
                log.info("event_not_sent", error=str(error))
            await asyncio.sleep(_PAUSE)

    async def _send(self, about: About, type_: str, reason: str, message: str) -> None:
        key = (about.kind, about.name, reason)
        series = self._series.get(key)
        now = self.clock()
        if series is not None and now - series.last < _SERIES_SECONDS:
            series.count += 1
            series.last = now
            seen = {"count": series.count, "lastObservedTime": rfc3339_micro(datetime.now(UTC))}
            body = {"series": seen, "note": message[:MOST_TEXT]}
            path = EVENT.path(series.name, namespace=NAMESPACE)
            try:
                await self.client.ask(patch(path, body, OPERATOR_FIELD_MANAGER))
                return
            except ApiError as error:
                if not (error.missing or error.refused):
                    raise
        name = f"{about.name[:200]}.{uuid.uuid4().hex[:12]}"
        writer = Writer("quilt.io/operator", self.identity)
        event = document(name, about, type_, reason, message, writer)
        await self.client.ask(create(EVENT.path(namespace=NAMESPACE), event, OPERATOR_FIELD_MANAGER))
        self._series[key] = _Series(name, 1, now)
        if len(self._series) > _REMEMBERED:
            del self._series[next(iter(self._series))]
