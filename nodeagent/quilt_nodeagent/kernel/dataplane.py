"""The mesh's entries in this kernel: what they are believed to be, and writing them.

The tracked view is kept true by our own confirmed writes and by the kernel's notifications, so that a change
of one peer costs one peer; `look` reads everything again.
"""

from __future__ import annotations

from collections.abc import Sequence

from quilt_netlink import Delete, Failure, FdbEntry, KernelLike, Neighbour, Op, Put
from quilt_nodeagent.core.plan import Pair, Plan
from quilt_nodeagent.core.state import Entries
from quilt_nodeagent.kernel.observe import RouteReader, read_layer2
from quilt_nodeagent.metrics import Metrics

Pairs = Sequence[Pair]


class Dataplane:
    """Tracked state of the VXLAN device `device` with index `index` (0: none yet), and the mesh's routes."""

    def __init__(self, kernel: KernelLike, metrics: Metrics) -> None:
        self.kernel = kernel
        self.index = 0
        self.device = ""
        self.tracked = Entries()
        self.routes = RouteReader(kernel)
        # Routes being written of which the kernel told nothing since: what it tells is newer than an answer.
        self.unheard: set[str] = set()
        self._metrics = metrics

    def look(self, wanted: Entries | None = None) -> None:
        """Read everything again; NetlinkError leaves the view as it was.

        What is as `wanted` is kept in its words: thousands of equal texts in memory once.
        """
        wanted = wanted or Entries()
        entries = read_layer2(self.kernel, self.index, wanted)
        entries.routes = self.routes.read(wanted.routes)
        self.tracked = entries

    def put(self, plan: Plan) -> list[str]:
        """Write neighbours and FDB entries in the plan's order; return what was refused, as sentences.

        A device that is gone is no refusal: its own notification is on its way, and nothing was confirmed.
        """
        new, fdb, moved = plan.new_neighbours, plan.fdb, plan.moved_neighbours
        return (
            self._put("neighbour", [Put(Neighbour(self.index, *pair)) for pair in new], new)
            + self._put("fdb", [Put(FdbEntry(self.index, *pair)) for pair in fdb], fdb)
            + self._put("neighbour", [Put(Neighbour(self.index, *pair)) for pair in moved], moved)
        )

    def drop(self, plan: Plan) -> list[str]:
        """Remove stale FDB entries and neighbours; return what was refused, as sentences."""
        fdb, neighbours = plan.stale_fdb, plan.stale_neighbours
        return self._drop("fdb", [Delete(FdbEntry(self.index, *pair)) for pair in fdb], fdb) + self._drop(
            "neighbour", [Delete(Neighbour(self.index, *pair)) for pair in neighbours], neighbours
        )

    def _put(self, kind: str, ops: list[Op], pairs: Pairs) -> list[str]:
        refused = self._apply(kind, ops)
        keep = pairs if not refused else [pair for at, pair in enumerate(pairs) if at not in refused]
        self._table(kind).update(keep)
        return self._sentences(kind, pairs, refused)

    def _drop(self, kind: str, ops: list[Op], pairs: Pairs) -> list[str]:
        refused = self._apply(kind, ops)
        table = self._table(kind)
        for at, (key, _) in enumerate(pairs):
            if at not in refused or refused[at].absent:
                table.pop(key, None)
        return self._sentences(kind, pairs, refused)

    def _table(self, kind: str) -> dict[str, str]:
        return self.tracked.neighbours if kind == "neighbour" else self.tracked.fdb

    def _apply(self, kind: str, ops: list[Op]) -> dict[int, Failure]:
        """Write; return what failed by its place. Counted once for all: thousands come together."""
        if not ops:
            return {}
        refused = {failure.index: failure for failure in self.kernel.apply(ops)}
        self._metrics.writes.labels(kind).inc(len(ops) - len(refused))
        return refused

    def _sentences(self, kind: str, pairs: Pairs, refused: dict[int, Failure]) -> list[str]:
        failed = {at: failure for at, failure in refused.items() if not failure.absent}
        if failed:
            self._metrics.write_failures.labels(kind).inc(len(failed))
        return [
            f"The kernel refused {kind} {pairs[at][0]} -> {pairs[at][1]}: {failure.message}."
            for at, failure in failed.items()
        ]
