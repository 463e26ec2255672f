"""Probes as a part of the agent: on while the network wants them and the overlay is there.

Once a second what has come is read, judged and answered by what is due: the time of arrival is the kernel's,
so that nothing depends on how soon this process comes to read it. Turned off it leaves nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random, SystemRandom

import msgspec
from prometheus_client import CollectorRegistry

from quilt_crds.wire import Condition
from quilt_events.news import News
from quilt_kube.aio import Client, wait
from quilt_kube.backoff import Backoff
from quilt_log import log
from quilt_probes.core.book import TICK, Book, Fault
from quilt_probes.core.mesh import Peer, addresses
from quilt_probes.core.share import EPOCH
from quilt_probes.core.view import NodeView, view
from quilt_probes.core.words import Outage, condition, off, starting
from quilt_probes.metrics import ProbesMetrics
from quilt_probes.proofs import Proofs
from quilt_probes.udp import MakeSocket, Udp, udp_socket

# Bytes of IPv4 and UDP headers.
_HEADERS = 28
# Seconds between looks at claims while they change: thousands are read, and no path is judged sooner.
_CLAIMS_PAUSE = 5.0
# Seconds after the start until what is seen is worth a condition.
_FIRST_LOOK = 5.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the agent knows: `ready` once the overlay exists, `mtu` in bytes, `claims` of all nodes."""

    enabled: bool
    ready: bool = False
    mtu: int = 0
    claims: Sequence[Peer] = ()


class Probes:
    """The probes of the node `own`; `wanted()` is asked after each `changed()`, None: not known yet.

    `interval()` is the heartbeat's in seconds; `reported()` is called when the condition may be another one,
    `tell` with what an Event is to say.
    """

    def __init__(
        self,
        own: str,
        wanted: Callable[[], Wanted | None],
        client: Client,
        registry: CollectorRegistry,
        *,
        interval: Callable[[], float] = lambda: 10.0,
        reported: Callable[[], None] = lambda: None,
        tell: Callable[[News], None] = lambda _news: None,
        make_socket: MakeSocket = udp_socket,
        chance: Random | None = None,
    ) -> None:
        self._own = own
        self._wanted = wanted
        self._client = client
        self._reported = reported
        self._make_socket = make_socket
        self._chance = chance or SystemRandom()
        self.metrics = ProbesMetrics(registry, lambda: self.book)
        self._proofs = Proofs(client, interval, self._silent, self._proved)
        self._tell = tell
        self._outage = Outage()
        self._wake = asyncio.Event()
        self._dirty = True
        self._epoch = 0
        self._followed = float("-inf")
        self._mtu = 0
        self._vtep = ""
        self._udp: Udp | None = None
        self._since = 0.0
        self._backoff = Backoff(1.0, 30.0)
        self._faults: list[Fault] = []
        self.book: Book | None = None
        self.problem = ""
        self.condition: Condition = starting()

    @property
    def problems(self) -> list[str]:
        """What keeps this node from probing, as sentences."""
        return [self.problem] if self.problem else []

    def document(self) -> bytes:
        """Return what was measured, as JSON."""
        found = view(self.book) if self.book else NodeView(self._own, reason=self.condition.text)
        return msgspec.json.encode(found)

    def changed(self) -> None:
        """Tell that something about what is wanted may have changed."""
        self._dirty = True
        self._wake.set()

    async def run(self) -> None:
        """Probe for ever."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._serve())
                group.create_task(self._prove())
        finally:
            self._stop()

    async def _serve(self) -> None:
        due = time.monotonic()
        while True:
            self._follow()
            if self._udp is None or self.book is None:
                await wait(self._wake, self._backoff.delay() if self.problem else None)
            else:
                self._tick(self._udp, self.book)
                due = max(due + TICK, time.monotonic())
                await asyncio.sleep(due - time.monotonic())
            self._wake.clear()

    async def _prove(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            await self._proofs.look()

    def _follow(self) -> None:
        """Follow what is wanted; not for each of many claims that change."""
        epoch, now = int(time.time()) // EPOCH, time.monotonic()
        changed = self._dirty and (self.book is None or now >= self._followed + _CLAIMS_PAUSE)
        if not changed and epoch == self._epoch and not self.problem:
            return
        self._followed = now
        self._dirty, self._epoch = False, epoch
        wanted = self._wanted()
        if wanted is None:
            return
        vteps = addresses(wanted.claims)
        own = vteps.pop(self._own, None)
        if not wanted.enabled or not wanted.ready or not own:
            self._stop()
            self.problem = ""
            self._report(starting() if wanted.enabled else off())
            return
        self._mtu = wanted.mtu
        self._bind(own[0])
        if self.book is not None:
            self.book.set_peers(vteps, epoch, time.monotonic())

    def _bind(self, vtep: str) -> None:
        if vtep == self._vtep and self._udp is not None:
            return
        self._stop()
        try:
            self._udp = Udp(vtep, self._make_socket)
        except OSError as error:
            problem = f"Cannot probe peers from {vtep}: {error.strerror}."
            if problem != self.problem:
                log.warning("probes_not_running", error=problem)
            self.problem = problem
            self._reported()
            return
        self._backoff.reset()
        self.problem = ""
        self._vtep, self._since = vtep, time.monotonic()
        self.book = Book(self._own, self._chance, time.time_ns)
        log.info("probes_started", vtep=vtep)

    def _stop(self) -> None:
        if self._udp is not None:
            self._udp.close()
            log.info("probes_stopped", vtep=self._vtep)
        self._udp, self.book = None, None
        self._faults, self._outage = [], Outage()

    def _tick(self, udp: Udp, book: Book) -> None:
        now = time.monotonic()
        book.wake(now)
        received = refused = sent = 0
        for source, data, arrived in udp.received():
            if book.receive(source, data, arrived, now):
                refused += 1
            else:
                received += 1
        book.judge(now)
        for vtep, data, full in book.due(now):
            udp.send(vtep, data.ljust(self._mtu - _HEADERS, b"\0") if full else data)
            sent += 1
        self.metrics.received.inc(received)
        self.metrics.refused.inc(refused)
        self.metrics.sent.inc(sent)
        if now - self._since >= _FIRST_LOOK:
            self._conclude(book)

    def _conclude(self, book: Book) -> None:
        faults = book.faults()
        for fault in faults:
            if fault not in self._faults:
                log.warning("path_failing", source=fault.source, target=fault.target, narrow=fault.narrow)
        for fault in self._faults:
            if fault not in faults:
                log.info("path_not_failing", source=fault.source, target=fault.target, narrow=fault.narrow)
        self._faults = faults
        self._report(condition(book))
        if news := self._outage.follow(book):
            self._tell(news)

    def _report(self, found: Condition) -> None:
        if found != self.condition:
            self.condition = found
            self._reported()

    def _silent(self, now: float) -> list[str]:
        return self.book.silent(now) if self.book else []

    def _proved(self, node: str, now: float) -> None:
        if self.book is not None:
            self.book.proved(node, now)
