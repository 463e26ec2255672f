"""The mesh's entries in this kernel: what they are believed to be, and writing them.

The tables are kept true by our own confirmed writes and by the kernel's notifications, so that a change of
one peer costs one peer; `look` reads everything again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from quilt_netlink import Delete, Failure, FdbEntry, KernelLike, Neighbour, Op, Put
from quilt_nodeagent.core.overlay import Overlay, Vxlan
from quilt_nodeagent.core.state import Entry, Tables
from quilt_nodeagent.kernel.observe import RouteReader, read_fdb, read_neighbours, read_unreachable
from quilt_nodeagent.metrics import Metrics

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
        self.overlay: Overlay = Vxlan()
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

    def put(self, entries: Sequence[Entry]) -> list[str]:
        """Write entries in this order; return what was refused, as sentences.

        A device that is gone is no refusal: its own notification is on its way, and nothing was confirmed.
        """
        return self._write(Put, entries)

    def drop(self, entries: Sequence[Entry]) -> list[str]:
        """Remove entries in this order; return what was refused, as sentences."""
        return self._write(Delete, entries)

    def _write(self, how: type[Put | Delete], entries: Sequence[Entry]) -> list[str]:
        """Write all in one batch, in order; confirm and count what was not refused."""
        ops: list[Op] = [how(_ENTRY[kind](self.index, key, value)) for kind, key, value in entries]
        refused = {failure.index: failure for failure in self.kernel.apply(ops)} if ops else {}
        for at, (kind, key, value) in enumerate(entries):
            if how is Put and at not in refused:
                self.tables.of[kind].observe(key, value)
            elif how is Delete and (at not in refused or refused[at].absent):
                self.tables.of[kind].observe(key, None)
        for kind, number in Counter(
            kind for at, (kind, *_) in enumerate(entries) if at not in refused
        ).items():
            self._metrics.writes.labels(kind).inc(number)
        return [self._sentence(entries[at], failure) for at, failure in refused.items() if not failure.absent]

    def _sentence(self, entry: Entry, failure: Failure) -> str:
        kind, key, value = entry
        self._metrics.write_failures.labels(kind).inc()
        return f"The kernel refused {kind} {key} -> {value}: {failure.message}."
