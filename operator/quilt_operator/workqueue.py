"""A level-triggered queue: it carries which object to look at, never what happened to it.

An object waits at most once, is never handled by two workers at a time, and is looked at again when it was
added meanwhile. Failures come back later and later. Withdrawals come first, and what is looked at only to be
sure comes last.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from quilt_kube.request import ApiError, UnreachableError
from quilt_log import log
from quilt_operator import metrics

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 30.0


@dataclass(frozen=True, slots=True)
class Request:
    """Which object to reconcile: `kind` is node or network."""

    kind: str
    name: str


Handler = Callable[[Request], Awaitable[float | None]]
"""Reconciles one object; answers in how many seconds to look again (None: when something changes)."""


class WorkQueue:
    """Requests and the workers that take them."""

    def __init__(self) -> None:
        self._ready: OrderedDict[Request, None] = OrderedDict()
        self._spare: OrderedDict[Request, None] = OrderedDict()
        self._active: set[Request] = set()
        self._again: set[Request] = set()
        self._timers: dict[Request, asyncio.TimerHandle] = {}
        self._failures: dict[Request, int] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._closed = False
        self.progressed = time.monotonic()
        """Monotonic time at which a worker last took or finished a request, or found none."""

    def __len__(self) -> int:
        return len(self._ready) + len(self._spare)

    def add(self, request: Request, *, urgent: bool = False) -> None:
        """Have `request` looked at soon; urgent ones before all others."""
        if request in self._active:
            self._again.add(request)
            return
        self._spare.pop(request, None)
        self._ready[request] = None
        if urgent:
            self._ready.move_to_end(request, last=False)
        self._wake.set()

    def add_spare(self, request: Request) -> None:
        """Have `request` looked at when no other waits."""
        if request not in self._active and request not in self._ready:
            self._spare[request] = None
            self._wake.set()

    def add_after(self, request: Request, delay: float) -> None:
        """Have `request` looked at in `delay` seconds; the earlier of several times counts."""
        loop = asyncio.get_running_loop()
        old = self._timers.get(request)
        if old is not None:
            if old.when() <= loop.time() + delay:
                return
            old.cancel()
        self._timers[request] = loop.call_later(max(0.0, delay), self._due, request)

    async def work(self, handlers: Mapping[str, Handler]) -> None:
        """Be a worker until cancelled; `handlers` are by the kinds of requests."""
        while True:
            while self._closed or not len(self):
                self._wake.clear()
                self.progressed = time.monotonic()
                await self._wake.wait()
            request, _ = (self._ready or self._spare).popitem(last=False)
            self._active.add(request)
            try:
                await self._handle(request, handlers[request.kind])
            finally:
                self._active.discard(request)
                if not self._active:
                    self._idle.set()
                self.progressed = time.monotonic()
                if request in self._again:
                    self._again.discard(request)
                    self.add(request)

    async def drain(self) -> None:
        """Begin nothing any more, and return when all that was begun has ended."""
        self._closed = True
        while self._active:
            self._idle.clear()
            await self._idle.wait()

    async def _handle(self, request: Request, handler: Handler) -> None:
        begin = time.perf_counter()
        try:
            later = await handler(request)
        except (ApiError, UnreachableError) as error:
            self._retry(request, error, error.retry_after if isinstance(error, ApiError) else 0.0)
            return
        except Exception as error:
            log.exception("reconcile_crashed", kind=request.kind, name=request.name)
            self._retry(request, error)
            return
        finally:
            metrics.RECONCILE.labels(request.kind).observe(time.perf_counter() - begin)
        self._failures.pop(request, None)
        if later is not None:
            self.add_after(request, later)

    def _retry(self, request: Request, error: Exception, at_least: float = 0.0) -> None:
        count = self._failures[request] = self._failures.get(request, 0) + 1
        metrics.RECONCILE_ERRORS.labels(request.kind).inc()
        # A conflict is how optimistic locking says "look again"; it is no news.
        if not (isinstance(error, ApiError) and error.conflict):
            log.warning("reconcile_failed", kind=request.kind, name=request.name, error=str(error))
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(count - 1, 16)) * random.uniform(0.8, 1.2)  # noqa: S311
        self.add_after(request, max(delay, at_least))

    def _due(self, request: Request) -> None:
        self._timers.pop(request, None)
        self.add(request)
