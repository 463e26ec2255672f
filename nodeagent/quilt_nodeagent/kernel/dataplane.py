"""The mesh's entries in this kernel: what they are believed to be, and writing them.

The tracked view is kept true by our own confirmed writes and by the kernel's notifications, so that a change
of one peer costs one peer; `look` reads everything again.
"""

from __future__ import annotations

from collections.abc import Iterable

from quilt_netlink import Delete, FdbEntry, KernelLike, Neighbour, Op, Put
from quilt_nodeagent.core.plan import Pair, Plan
from quilt_nodeagent.core.state import Entries
from quilt_nodeagent.kernel.observe import RouteReader, read_layer2
from quilt_nodeagent.metrics import Metrics


class Dataplane:
    """Tracked state of the VXLAN device with index `index` (0: none yet) and of the mesh's routes."""

    def __init__(self, kernel: KernelLike, metrics: Metrics) -> None:
        self.kernel = kernel
        self.index = 0
        self.tracked = Entries()
        self.routes = RouteReader(kernel)
        self._metrics = metrics

    def look(self) -> None:
        """Read everything again; NetlinkError leaves the view as it was."""
        entries = read_layer2(self.kernel, self.index)
        entries.routes = self.routes.read()
        self.tracked = entries

    def put(self, plan: Plan) -> list[str]:
        """Write neighbours and FDB entries in the plan's order; return what was refused, as sentences.

        A device that is gone is no refusal: its own notification is on its way, and nothing was confirmed.
        """
        ops: list[Op] = [Put(Neighbour(self.index, address, mac)) for address, mac in plan.new_neighbours]
        ops += [Put(FdbEntry(self.index, mac, dst)) for mac, dst in plan.fdb]
        ops += [Put(Neighbour(self.index, address, mac)) for address, mac in plan.moved_neighbours]
        pairs = (*plan.new_neighbours, *plan.fdb, *plan.moved_neighbours)
        return self._apply(ops, pairs)

    def drop(self, plan: Plan) -> list[str]:
        """Remove stale FDB entries and neighbours; return what was refused, as sentences."""
        ops: list[Op] = [Delete(FdbEntry(self.index, mac, dst)) for mac, dst in plan.stale_fdb]
        ops += [Delete(Neighbour(self.index, address, mac)) for address, mac in plan.stale_neighbours]
        return self._apply(ops, (*plan.stale_fdb, *plan.stale_neighbours))

    def _apply(self, ops: list[Op], pairs: Iterable[Pair]) -> list[str]:
        if not ops:
            return []
        refused = {failure.index: failure for failure in self.kernel.apply(ops)}
        errors = []
        for index, (op, (key, value)) in enumerate(zip(ops, pairs, strict=True)):
            kind = "neighbour" if isinstance(op.entry, Neighbour) else "fdb"
            table = self.tracked.neighbours if kind == "neighbour" else self.tracked.fdb
            failure = refused.get(index)
            gone = isinstance(op, Delete) and (failure is None or failure.absent)
            if gone:
                table.pop(key, None)
            elif failure is None:
                table[key] = value
            elif not failure.absent:
                self._metrics.write_failures.labels(kind).inc()
                errors.append(f"The kernel refused {kind} {key} -> {value}: {failure.message}.")
            if failure is None:
                self._metrics.writes.labels(kind).inc()
        return errors
