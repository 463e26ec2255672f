"""In which order a difference is written, so that no packet meets a half-made peer.

A route is only ever written over a neighbour whose FDB entry exists, and a neighbour or FDB entry only goes
after the route over it: new neighbour, FDB, moved neighbour, route; then stale route, FDB, neighbour.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace

from quilt_nodeagent.core.state import Hop, Mark, Tables

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
    # Prefixes that are refused where no route leads, and no longer: nothing else rests on them.
    unreachable: tuple[str, ...] = ()
    stale_unreachable: tuple[str, ...] = ()

    def __len__(self) -> int:
        return (
            len(self.new_neighbours)
            + len(self.fdb)
            + len(self.moved_neighbours)
            + len(self.routes)
            + len(self.stale_routes)
            + len(self.stale_fdb)
            + len(self.stale_neighbours)
            + len(self.unreachable)
            + len(self.stale_unreachable)
        )

    def marks(self) -> set[Mark]:
        """Places of everything that is written or removed."""
        neighbours = (*self.new_neighbours, *self.moved_neighbours, *self.stale_neighbours)
        marks: set[Mark] = {("neighbour", address) for address, _ in neighbours}
        marks |= {("fdb", mac) for mac, _ in (*self.fdb, *self.stale_fdb)}
        marks |= {("route", prefix) for prefix, _ in self.routes}
        marks |= {("unreachable", prefix) for prefix in (*self.unreachable, *self.stale_unreachable)}
        return marks | {("route", prefix) for prefix in self.stale_routes}


def make_plan(tables: Tables) -> Plan:
    """Order what is pending."""
    neighbours, fdb, routes = tables.neighbours.pending, tables.fdb.pending, tables.routes.pending
    there = tables.neighbours.held
    return Plan(
        new_neighbours=tuple(item for item in neighbours.put.items() if there(item[0]) is None),
        fdb=tuple(fdb.put.items()),
        moved_neighbours=tuple(item for item in neighbours.put.items() if there(item[0]) is not None),
        routes=tuple(routes.put.items()),
        stale_routes=tuple(routes.drop),
        stale_fdb=tuple(fdb.drop.items()),
        stale_neighbours=tuple(neighbours.drop.items()),
        unreachable=tuple(tables.unreachable.pending.put),
        stale_unreachable=tuple(tables.unreachable.pending.drop),
    )


def parts(plan: Plan, tables: Tables, size: int) -> Iterator[Plan]:
    """Cut a plan for an empty device into plans of at most `size` neighbours, FDB entries and routes.

    So that a part's routes can be on their way while the next part's entries are written. Each kind is cut in
    its own order: a route may be ahead of what it rests on, and then waits (`reachable`). What is stale comes
    with the last part. Where anything stands, traffic may be on it, and the plan's order is kept as it is.
    """
    longest = max(len(plan.new_neighbours), len(plan.fdb), len(plan.routes))
    if longest <= size or not (tables.neighbours.empty and tables.fdb.empty):
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


def reachable(routes: Iterable[Hops], tables: Tables, device: str) -> tuple[list[Hops], list[Hops]]:
    """Sort routes into those that can be written, and those that lead nowhere yet.

    These go over the overlay's `device` and have no neighbour or FDB entry after the writes so far; a route
    by another device rests on nothing of ours.
    """
    ready: list[Hops] = []
    waiting: list[Hops] = []
    for route in routes:
        hop = route[1]
        there = hop.device != device or _leads_on(tables, hop.gateway)
        (ready if there else waiting).append(route)
    return ready, waiting


def _leads_on(tables: Tables, gateway: str) -> bool:
    mac = tables.neighbours.held(gateway)
    return mac is not None and tables.fdb.held(mac) is not None


def without_routed(plan: Plan, gateways: Container[str], tables: Tables) -> Plan:
    """Leave out stale neighbours and FDB entries that a route over one of `gateways` still uses."""
    macs = {tables.neighbours.held(address) for address, _ in plan.stale_neighbours if address in gateways}
    return replace(
        plan,
        stale_fdb=tuple(item for item in plan.stale_fdb if item[0] not in macs),
        stale_neighbours=tuple(item for item in plan.stale_neighbours if item[0] not in gateways),
    )
