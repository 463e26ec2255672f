"""The mesh's entries in this kernel: what they are believed to be, and carrying a plan out.

The tables are kept true by our own confirmed writes and by the kernel's notifications, so that a change of
one peer costs one peer; `look` reads everything again. Layer 2 is written through netlink, routes through
the runtime, in the plan's order. What fails holds back only what would lead packets astray: a route waits for
its neighbour and FDB entry, and those stay while a route over them could not be removed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from quilt_netlink import Delete, Failure, FdbEntry, KernelLike, Neighbour, Op, Put
from quilt_nodeagent.core.overlay import Entry, Hop, Kind, Overlay, Tables
from quilt_nodeagent.core.plan import Hops, Plan, parts, reachable, without_routed
from quilt_nodeagent.executor.client import RuntimeUnavailable
from quilt_nodeagent.executor.link import RuntimeLink
from quilt_nodeagent.kernel.observe import RouteReader, read_fdb, read_neighbours, read_unreachable
from quilt_nodeagent.metrics import Metrics
from quilt_proto.node_pb2 import RouteResult

_ENTRY: dict[str, Callable[[int, str, str], Neighbour | FdbEntry]] = {
    "neighbour": Neighbour,
    "fdb": FdbEntry,
}
# New routes in the first call of the runtime: it works on one part while the next part's layer 2 is written.
_PART = 750


@dataclass
class Dataplane:
    """The tables of the overlay's device `device` with index `index` (0: none yet), and the mesh's routes.

    `reached` tells after a `write` whether all of it was asked for: the runtime was there.
    """

    kernel: KernelLike
    runtime: RuntimeLink
    overlay: Overlay
    metrics: Metrics
    index: int = field(default=0, init=False)
    device: str = field(default="", init=False)
    tables: Tables = field(default_factory=Tables, init=False)
    reached: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        self.routes = RouteReader(self.kernel)

    def look(self) -> None:
        """Read everything again; raises NetlinkError."""
        tables = self.tables
        tables.neighbours.observe_all(read_neighbours(self.kernel, self.index))
        tables.fdb.observe_all(read_fdb(self.kernel, self.index))
        tables.routes.observe_all(self.routes.read(self.device))
        self.look_at_unreachable()

    def look_at_unreachable(self) -> None:
        """Read again what is refused, as notifications do not tell whether it came or went."""
        self.tables.unreachable.observe_all(read_unreachable(self.kernel))

    async def write(self, plan: Plan) -> list[str]:
        """Carry out as much of a plan as can be; return what was refused, as sentences.

        A device that is gone is no refusal: its own notification is on its way, and nothing was confirmed.
        """
        self.reached = True
        errors = await self._write_unreachable(plan)
        waiting: list[Hops] = []
        tables, overlay = self.tables, self.overlay
        *early, last = parts(plan, tables, overlay, _PART)
        async with asyncio.TaskGroup() as group:
            calls = []
            for part in early:
                errors += self._write(Put, part.before)
                routes, waiting = reachable((*waiting, *part.routes), tables, overlay, self.device)
                calls.append(group.create_task(self._write_routes(routes, ())))
                await asyncio.sleep(0)  # our task makes the call,
                await asyncio.sleep(0)  # and gRPC's own sends it, before this one works on
            errors += self._write(Put, last.before)
            routes, _ = reachable((*waiting, *last.routes), tables, overlay, self.device)
            errors += await self._write_routes(routes, last.stale_routes)
        for call in calls:
            errors += call.result()
        kept = [hop for prefix in plan.stale_routes if (hop := tables.routes.held(prefix))]
        errors += self._write(Delete, without_routed(plan, kept, tables, overlay).after)
        return list(dict.fromkeys(errors))

    def _write(self, how: type[Put | Delete], entries: Sequence[Entry]) -> list[str]:
        """Write all in one batch, in order; confirm and count what was not refused."""
        ops: list[Op] = [how(_ENTRY[kind](self.index, key, value)) for kind, key, value in entries]
        refused = {failure.index: failure for failure in self.kernel.apply(ops)} if ops else {}
        for at, (kind, key, value) in enumerate(entries):
            if how is Put and at not in refused:
                self.tables.of[kind].observe(key, value)
            elif how is Delete and (at not in refused or refused[at].absent):
                self.tables.of[kind].observe(key, None)
        done = Counter(kind for at, (kind, *_) in enumerate(entries) if at not in refused)
        for kind, number in done.items():
            self.metrics.writes.labels(kind).inc(number)
        return [self._refusal(entries[at], failure) for at, failure in refused.items() if not failure.absent]

    def _refusal(self, entry: Entry, failure: Failure) -> str:
        kind, key, value = entry
        self.metrics.write_failures.labels(kind).inc()
        return f"The kernel refused {kind} {key} -> {value}: {failure.message}."

    async def _write_routes(self, add: Sequence[Hops], remove: Sequence[str]) -> list[str]:
        written: dict[str, Hop | None] = {**dict(add), **dict.fromkeys(remove)}
        return await self._ask("route", written, lambda: self.runtime.client.apply_routes(add, remove))

    async def _write_unreachable(self, plan: Plan) -> list[str]:
        add, remove = plan.unreachable, plan.stale_unreachable
        written: dict[str, bool | None] = {**dict.fromkeys(add, True), **dict.fromkeys(remove)}
        return await self._ask("unreachable", written, lambda: self.runtime.client.refuse(add, remove))

    async def _ask(
        self, kind: Kind, written: Mapping[str, object], call: Callable[[], Awaitable[list[RouteResult]]]
    ) -> list[str]:
        """Have the runtime write, and confirm what it did not refuse."""
        if not written:
            return []
        table = self.tables.of[kind]
        table.send(written)
        try:
            refusals = await call()
            refused = {refusal.destination for refusal in refusals}
            table.fail(refused)
            table.confirm(written.items())
        except RuntimeUnavailable as error:
            self.runtime.failed(error)
            self.reached = False
            return [str(error)]
        finally:
            table.fail(written)
        self.metrics.writes.labels(kind).inc(len(written) - len(refused))
        self.metrics.write_failures.labels(kind).inc(len(refused))
        self.metrics.runtime_errors.labels("RouteFailed").inc(len(refused))
        return [_sentence(refusal.destination, refusal.error) for refusal in refusals]


def _sentence(destination: str, error: str) -> str:
    text = error if destination in error else f"Route {destination}: {error}"
    return text if text.endswith(".") else f"{text}."
