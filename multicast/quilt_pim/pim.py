"""What PIM messages do: Hellos make neighbors, Join/Prune from neighbors make routes, strangers nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog

from quilt_pim import interfaces
from quilt_pim.core.errors import ControlError
from quilt_pim.core.events import Event
from quilt_pim.core.neighbors import NeighborTable, elect
from quilt_pim.core.pim import Entry, Hello, JoinPrune, PimError, parse
from quilt_pim.core.routes import OVERRIDE, RouteTable
from quilt_pim.counters import Counters
from quilt_pim.pim_socket import ALL_PIM_ROUTERS
from quilt_pim.rpf_provider import RpfProvider, Verdict
from quilt_pim.speakers import Speakers

log = structlog.get_logger()

# Join/Prune messages that wait for the RPF provider; more are dropped, as their senders repeat them.
_QUEUE = 256
# Log lines about routers that are no neighbors.
_STRANGERS = 64


class PimService:
    """Receives PIM and keeps neighbors and routes; `publish` hears of changes, `wake` of new deadlines."""

    def __init__(
        self,
        neighbors: NeighborTable,
        routes: RouteTable,
        rpf: RpfProvider,
        counters: Counters,
        *,
        publish: Callable[[Iterable[Event]], None],
        wake: Callable[[], None],
    ) -> None:
        self.speakers = Speakers(self.receive)
        self._neighbors = neighbors
        self._routes = routes
        self._rpf = rpf
        self._counters = counters
        self._publish = publish
        self._wake = wake
        self._strangers: set[tuple[str, str]] = set()
        self._queue: asyncio.Queue[tuple[str, str, JoinPrune]] = asyncio.Queue(_QUEUE)

    def receive(self, interface: str, source: str, destination: str, message: bytes) -> None:
        """Take in one PIM packet; whatever is wrong with it is counted, nothing is raised."""
        own = self._own_address(interface)
        if source == own or destination != ALL_PIM_ROUTERS:
            self._counters.add("pim_ignored")
            return
        try:
            read = parse(message)
        except PimError as error:
            self._counters.add("pim_invalid")
            log.debug("pim_invalid", interface=interface, source=source, error=str(error))
            return
        if isinstance(read, Hello):
            self._hello(interface, source, read)
        elif isinstance(read, JoinPrune):
            self._accept(interface, source, read, own)
        else:
            self._counters.add("pim_ignored")

    async def run(self) -> None:
        """Work on accepted Join/Prune messages in order, for ever."""
        while True:
            interface, source, message = await self._queue.get()
            try:
                await self._apply(interface, source, message)
            except ControlError as error:
                self._counters.add("pim_dropped")
                log.warning("pim_join_dropped", interface=interface, neighbor=source, error=str(error))

    async def recheck(self) -> None:
        """Ask for every route's upstream again, as the provider or its entries changed."""
        for route in list(self._routes):
            for interface in route.interfaces:
                verdict = await self._rpf.joins(route.root, interface)
                if verdict.passed:
                    self._publish(self._routes.set_upstream(route.key, verdict.info))
                else:
                    self._refused(interface, route.root, verdict)
                    gone = Entry(route.key.group, route.root, wildcard=route.key.source is None)
                    self._publish(self._routes.prune(gone, interface, 0.0, time.monotonic()))

    def designated(self, interface: str) -> str | None:
        """Address of the interface's designated router; we stand for election where we send Hellos."""
        standing = [(n.address, n.dr_priority) for n in self._neighbors.on(interface)]
        speaker = self.speakers.get(interface)
        own = self._own_address(interface)
        if speaker is not None and not speaker.passive and own is not None:
            standing.append((own, speaker.priority))
        return elect(standing)

    def _hello(self, interface: str, source: str, hello: Hello) -> None:
        self._counters.add("hellos_received")
        held = self._neighbors.get(interface, source)
        before = held.hello.generation_id if held and held.hello else None
        fresh = held is None or held.hello is None or before != hello.generation_id
        try:
            self._publish(self._neighbors.receive(interface, source, hello, time.monotonic()))
        except ControlError as error:
            self._counters.add("pim_dropped")
            log.warning("pim_hello_dropped", interface=interface, error=str(error))
            return
        if fresh and hello.holdtime:
            self.speakers.hello_soon(interface, time.monotonic())
        self._wake()

    def _accept(self, interface: str, source: str, message: JoinPrune, own: str | None) -> None:
        if self._neighbors.get(interface, source) is None:
            # RFC 7761 §4.5: from a router that is no neighbor nothing is accepted.
            self._counters.add("stranger_refused")
            self._tell_of_stranger(interface, source)
        elif message.upstream != own:
            self._counters.add("not_for_us")
        elif self._queue.full():
            self._counters.add("pim_dropped")
        else:
            self._queue.put_nowait((interface, source, message))

    async def _apply(self, interface: str, source: str, message: JoinPrune) -> None:
        entries = [e for e in (*message.joins, *message.prunes) if e.wildcard or not e.rpt]
        roots = list(dict.fromkeys(entry.source for entry in entries))
        answers = await asyncio.gather(*(self._rpf.joins(root, interface) for root in roots))
        verdicts = dict(zip(roots, answers, strict=True))
        if self._neighbors.get(interface, source) is None:
            return  # It went while the provider was asked.
        now = time.monotonic()
        # Where others are on the link they may object to a prune.
        delay = OVERRIDE if len(self._neighbors.on(interface)) > 1 else 0.0
        for entry in message.joins:
            if self._passes(entry, interface, verdicts):
                info = verdicts[entry.source].info
                self._counters.add("joins_accepted")
                self._publish(self._routes.join(entry, interface, info, message.holdtime, now))
        for entry in message.prunes:
            if self._passes(entry, interface, verdicts):
                self._counters.add("prunes_accepted")
                self._publish(self._routes.prune(entry, interface, delay, now))
        self._wake()

    def _passes(self, entry: Entry, interface: str, verdicts: dict[str, Verdict]) -> bool:
        if entry.source not in verdicts:
            # (S,G,rpt): pruning one source off a shared tree that is not built here.
            self._counters.add("pim_ignored")
            return False
        verdict = verdicts[entry.source]
        if not verdict.passed:
            self._refused(interface, entry.source, verdict)
        return verdict.passed

    def _refused(self, interface: str, source: str, verdict: Verdict) -> None:
        self._counters.add("rpf_refused")
        log.debug("rpf_refused", interface=interface, source=source, reason=verdict.reason)

    def _tell_of_stranger(self, interface: str, source: str) -> None:
        """One line for each, and no more than so many: everybody on the link can send these."""
        if len(self._strangers) < _STRANGERS and (interface, source) not in self._strangers:
            self._strangers.add((interface, source))
            log.warning("pim_stranger_refused", interface=interface, source=source)

    def _own_address(self, interface: str) -> str | None:
        try:
            return interfaces.look(interface).address
        except ControlError:
            return None
