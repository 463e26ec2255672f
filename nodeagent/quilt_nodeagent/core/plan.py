"""In which order a difference is written, so that no packet meets a half-made peer.

A route is only ever written over a neighbour whose FDB entry exists, and a neighbour or FDB entry only goes
after the route over it: new neighbour, FDB, moved neighbour, route; then stale route, FDB, neighbour.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace

from quilt_nodeagent.core.diff import Diff
from quilt_nodeagent.core.state import Entries, Hop, Keys

Pair = tuple[str, str]
Hops = tuple[str, Hop]
"""A prefix and where it leads."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Writes in the order of the fields; neighbours are (address, mac), FDB entries (mac, host IP)."""

    new_neighbours: tuple[Pair, ...] = ()
    fdb: tuple[Pair, ...] = ()
    # A neighbour that is to point elsewhere has traffic on it: its new FDB entry must be there first.
    moved_neighbours: tuple[Pair, ...] = ()
    routes: tuple[Hops, ...] = ()
    stale_routes: tuple[str, ...] = ()
    stale_fdb: tuple[Pair, ...] = ()
    stale_neighbours: tuple[Pair, ...] = ()

    def __len__(self) -> int:
        return (
            len(self.new_neighbours)
            + len(self.fdb)
            + len(self.moved_neighbours)
            + len(self.routes)
            + len(self.stale_routes)
            + len(self.stale_fdb)
            + len(self.stale_neighbours)
        )

    def keys(self) -> Keys:
        """Keys of everything that is written or removed."""
        neighbours = (*self.new_neighbours, *self.moved_neighbours, *self.stale_neighbours)
        return Keys(
            {address for address, _ in neighbours},
            {mac for mac, _ in (*self.fdb, *self.stale_fdb)},
            {prefix for prefix, _ in self.routes} | set(self.stale_routes),
        )


def make_plan(difference: Diff, actual: Entries) -> Plan:
    """Order a Diff; `actual` is the state that it was computed against."""
    put, drop = difference.put, difference.drop
    neighbours = put.neighbours.items()
    return Plan(
        new_neighbours=tuple(item for item in neighbours if item[0] not in actual.neighbours),
        fdb=tuple(put.fdb.items()),
        moved_neighbours=tuple(item for item in neighbours if item[0] in actual.neighbours),
        routes=tuple(put.routes.items()),
        stale_routes=tuple(drop.routes),
        stale_fdb=tuple(drop.fdb.items()),
        stale_neighbours=tuple(drop.neighbours.items()),
    )


def parts(plan: Plan, actual: Entries, size: int) -> Iterator[Plan]:
    """Cut a plan for an empty device into plans of at most `size` neighbours, FDB entries and routes.

    So that a part's routes can be on their way while the next part's entries are written. Each kind is cut in
    its own order: a route may be ahead of what it rests on, and then waits (`reachable`). What is stale comes
    with the last part. Where anything stands, traffic may be on it, and the plan's order is kept as it is.
    """
    longest = max(len(plan.new_neighbours), len(plan.fdb), len(plan.routes))
    if longest <= size or actual.neighbours or actual.fdb:
        yield plan
        return
    last = (longest - 1) // size * size
    for start in range(0, last, size):
        cut = slice(start, start + size)
        yield Plan(new_neighbours=plan.new_neighbours[cut], fdb=plan.fdb[cut], routes=plan.routes[cut])
    rest = slice(last, None)
    yield replace(
        plan, new_neighbours=plan.new_neighbours[rest], fdb=plan.fdb[rest], routes=plan.routes[rest]
    )


def reachable(routes: Iterable[Hops], actual: Entries, device: str) -> tuple[list[Hops], list[Hops]]:
    """Sort routes into those that can be written, and those that lead nowhere yet.

    These go over the overlay's `device` and have no neighbour or FDB entry in `actual`, the state after the
    writes so far; a route by another device rests on nothing of ours.
    """
    neighbours, fdb = actual.neighbours, actual.fdb
    ready: list[Hops] = []
    waiting: list[Hops] = []
    for route in routes:
        hop = route[1]
        there = neighbours.get(hop.gateway) in fdb or hop.device != device
        (ready if there else waiting).append(route)
    return ready, waiting


def without_routed(plan: Plan, gateways: Container[str], actual: Entries) -> Plan:
    """Leave out stale neighbours and FDB entries that a route over one of `gateways` still uses."""
    macs = {actual.neighbours.get(address) for address, _ in plan.stale_neighbours if address in gateways}
    return replace(
        plan,
        stale_fdb=tuple(item for item in plan.stale_fdb if item[0] not in macs),
        stale_neighbours=tuple(item for item in plan.stale_neighbours if item[0] not in gateways),
    )
