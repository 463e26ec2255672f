"""The mesh's entries in this kernel: what they are believed to be, and writing them.

The tables are kept true by our own confirmed writes and by the kernel's notifications, so that a change of
one peer costs one peer; `look` reads everything again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quilt_netlink import Delete, Failure, FdbEntry, KernelLike, Neighbour, Op, Put
from quilt_nodeagent.core.plan import Pair, Plan
from quilt_nodeagent.core.state import Tables
from quilt_nodeagent.kernel.observe import RouteReader, read_fdb, read_neighbours, read_unreachable
from quilt_nodeagent.metrics import Metrics

Pairs = Sequence[Pair]
_ENTRY: dict[str, Callable[[int, str, str], Neighbour | FdbEntry]] = {
    "neighbour": Neighbour,
    "fdb": FdbEntry,
}


class Dataplane:
    """The tables of the VXLAN device `device` with index `index` (0: none yet), and the mesh's routes."""

    def __init__(self, kernel: KernelLike, metrics: Metrics) -> None:
        self.kernel = kernel
        self.index = 0
        self.device = ""
        self.tables = Tables()
        self.routes = RouteReader(kernel)
        self._metrics = metrics

    def look(self) -> None:
        """Read everything again; raises NetlinkError."""
        tables = self.tables
        tables.neighbours.observe_all(read_neighbours(self.kernel, self.index))
        tables.fdb.observe_all(read_fdb(self.kernel, self.index))
        tables.routes.observe_all(self.routes.read())
        self.look_at_unreachable()

    def look_at_unreachable(self) -> None:
        """Read again what is refused, as notifications do not tell whether it came or went."""
        self.tables.unreachable.observe_all(read_unreachable(self.kernel))

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
        table = self.tables.neighbours if kind == "neighbour" else self.tables.fdb
        for at, (key, value) in enumerate(pairs):
            if how is Put and at not in refused:
                table.observe(key, value)
            elif how is Delete and (at not in refused or refused[at].absent):
                table.observe(key, None)
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
