"""The mesh's entries in this kernel: what they are believed to be, and writing them.

The tracked view is kept true by our own confirmed writes and by the kernel's notifications, so that a change
of one peer costs one peer; `look` reads everything again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quilt_netlink import Delete, Failure, FdbEntry, KernelLike, Neighbour, Op, Put
from quilt_nodeagent.core.plan import Pair, Plan
from quilt_nodeagent.core.state import Entries
from quilt_nodeagent.kernel.observe import RouteReader, read_layer2
from quilt_nodeagent.metrics import Metrics

Pairs = Sequence[Pair]
_ENTRY: dict[str, Callable[[int, str, str], Neighbour | FdbEntry]] = {
    "neighbour": Neighbour,
    "fdb": FdbEntry,
}


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
        return self._write(
            Put, (("neighbour", plan.new_neighbours), ("fdb", plan.fdb), ("neighbour", plan.moved_neighbours))
        )

    def drop(self, plan: Plan) -> list[str]:
        """Remove stale FDB entries and neighbours; return what was refused, as sentences."""
        return self._write(Delete, (("fdb", plan.stale_fdb), ("neighbour", plan.stale_neighbours)))

    def _write(self, how: type[Put | Delete], kinds: Sequence[tuple[str, Pairs]]) -> list[str]:
        """Write all in one batch, in order; confirm and count what was not refused, for all at once."""
        ops: list[Op] = []
        for kind, pairs in kinds:
            entry = _ENTRY[kind]
            ops += [how(entry(self.index, *pair)) for pair in pairs]
        failures = self.kernel.apply(ops) if ops else []
        errors: list[str] = []
        first = 0
        for kind, pairs in kinds:
            refused = {f.index - first: f for f in failures if first <= f.index < first + len(pairs)}
            first += len(pairs)
            self._confirm(how, kind, pairs, refused)
            errors += self._sentences(kind, pairs, refused)
        return errors

    def _confirm(self, how: type[Put | Delete], kind: str, pairs: Pairs, refused: dict[int, Failure]) -> None:
        table = self.tracked.neighbours if kind == "neighbour" else self.tracked.fdb
        if how is Put:
            table.update(pairs if not refused else [p for at, p in enumerate(pairs) if at not in refused])
        else:
            for at, (key, _) in enumerate(pairs):
                if at not in refused or refused[at].absent:
                    table.pop(key, None)
        if pairs:
            self._metrics.writes.labels(kind).inc(len(pairs) - len(refused))

    def _sentences(self, kind: str, pairs: Pairs, refused: dict[int, Failure]) -> list[str]:
        failed = {at: failure for at, failure in refused.items() if not failure.absent}
        if failed:
            self._metrics.write_failures.labels(kind).inc(len(failed))
        return [
            f"The kernel refused {kind} {pairs[at][0]} -> {pairs[at][1]}: {failure.message}."
            for at, failure in failed.items()
        ]
