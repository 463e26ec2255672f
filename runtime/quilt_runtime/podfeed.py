"""Which pods have an address, reported to readers as it changes.

Events come from the threads that serve CNI, and none of them waits for a reader: one that is too slow loses
its place. It connects again and gets everything.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto, unique
from ipaddress import IPv4Address

from quilt_log import log
from quilt_policy.program import PodName
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.ipam import Allocation, Owner

MOST_UNREAD = 10_000
"""Events that wait for one reader: more than twice the pods of the largest node."""


@unique
class What(Enum):
    """What happened to a pod; SYNCED is about none: every pod that has an address was reported."""

    CONNECTED = auto()
    DISCONNECTED = auto()
    WAITING = auto()
    SYNCED = auto()


@dataclass(frozen=True, slots=True)
class PodEvent:
    """One event; a pod that only waits has no address."""

    what: What
    pod: PodName | None = None
    owner: Owner | None = None
    address: IPv4Address | None = None


class SlowReaderError(RequestError):
    """A reader's events were dropped."""

    retryable = True

    def __init__(self) -> None:
        super().__init__(f"{MOST_UNREAD} events were not read in time; connect again for all pods")


class Reader:
    """The events of one reader, iterated over in the event loop that made it; ends with the feed."""

    def __init__(self, first: Iterable[PodEvent]) -> None:
        self._loop = asyncio.get_running_loop()
        self._unread = deque(first)
        self._filled = asyncio.Event()
        self._lost = False
        self._ended = False

    def put(self, event: PodEvent) -> None:
        """Add an event, from any thread."""
        if self._lost:
            return
        if len(self._unread) >= MOST_UNREAD:
            self._lost = True
            self._unread.clear()
        else:
            self._unread.append(event)
        self._wake()

    def end(self) -> None:
        """Let the reader end when it has read what there is, from any thread."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._filled.set)

    async def __aiter__(self) -> AsyncIterator[PodEvent]:
        """Yield events as they come; raises SlowReaderError."""
        while True:
            self._filled.clear()
            while self._unread:
                yield self._unread.popleft()
            if self._lost:
                raise SlowReaderError
            if self._ended:
                return
            await self._filled.wait()


class PodFeed:
    """Reports pods that somebody named; `held` are the allocations of now. Safe to use from any thread.

    What an event is about is done before it is reported. So a reader that begins meanwhile may be shown a
    pod twice, and misses none.
    """

    def __init__(self, held: Callable[[], Iterable[Allocation]]) -> None:
        self._held = held
        self._lock = threading.Lock()
        self._waiting: dict[Owner, PodName] = {}
        self._readers: list[Reader] = []
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Give the caller, in an event loop, a reader that begins with all pods; raises SlowReaderError."""
        with self._lock:
            reader = Reader(self._all())
            self._readers.append(reader)
            if self._closed:
                reader.end()
        try:
            yield reader
        except SlowReaderError:
            log.warning("pod_reader_too_slow", unread=MOST_UNREAD)
            raise
        finally:
            with self._lock:
                self._readers.remove(reader)

    def connected(self, allocation: Allocation) -> None:
        """Report that a pod has its address."""
        self._put(What.CONNECTED, allocation)

    def disconnected(self, allocation: Allocation) -> None:
        """Report that a pod has it no more."""
        self._put(What.DISCONNECTED, allocation)

    @contextmanager
    def waiting(self, owner: Owner, pod: PodName) -> Iterator[None]:
        """Report that a pod's ADD waits for what holds for it, also to readers that begin meanwhile."""
        with self._lock:
            self._waiting[owner] = pod
            self._report(PodEvent(What.WAITING, pod, owner))
        try:
            yield
        finally:
            with self._lock:
                self._waiting.pop(owner, None)

    def close(self) -> None:
        """End all readers, and those to come."""
        with self._lock:
            self._closed = True
            for reader in self._readers:
                reader.end()

    def _all(self) -> Iterator[PodEvent]:
        for held in self._held():
            if held.pod is not None:
                yield PodEvent(What.CONNECTED, held.pod, held.owner, held.address)
        for owner, pod in self._waiting.items():
            yield PodEvent(What.WAITING, pod, owner)
        yield PodEvent(What.SYNCED)

    def _put(self, what: What, allocation: Allocation) -> None:
        if allocation.pod is not None:
            with self._lock:
                self._report(PodEvent(what, allocation.pod, allocation.owner, allocation.address))

    def _report(self, event: PodEvent) -> None:
        for reader in self._readers:
            reader.put(event)
