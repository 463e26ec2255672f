"""In which order a difference is written, so that no packet meets a half-made peer.

A route is only ever written over a neighbour whose FDB entry exists, and a neighbour or FDB entry only goes
after the route over it: new neighbour, FDB, moved neighbour, route; then stale route, FDB, neighbour.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

from quilt_nodeagent.core.diff import Diff
from quilt_nodeagent.core.state import Entries, Hop, Keys

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """Writes in the order of the fields; neighbours are (address, mac), FDB entries (mac, host IP)."""

    new_neighbours: tuple[Pair, ...] = ()
    fdb: tuple[Pair, ...] = ()
    # A neighbour that is to point elsewhere has traffic on it: its new FDB entry must be there first.
    moved_neighbours: tuple[Pair, ...] = ()
    routes: tuple[tuple[str, Hop], ...] = ()
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
    """Cut a plan into plans of at most `size` new routes, each with the entries that these routes rest on.

    So that a part's routes can be on their way while the next part's entries are written. What belongs to no
    new route, and what is stale, comes with the last part.
    """
    if len(plan.routes) <= size:
        yield plan
        return
    new, fdb, moved = dict(plan.new_neighbours), dict(plan.fdb), dict(plan.moved_neighbours)
    last = (len(plan.routes) - 1) // size * size
    for start in range(0, last, size):
        routes = plan.routes[start : start + size]
        gateways = {hop.gateway for _, hop in routes}
        macs = {new.get(at) or moved.get(at) or actual.neighbours.get(at, "") for at in gateways}
        yield Plan(
            new_neighbours=_taken(new, gateways),
            fdb=_taken(fdb, macs),
            moved_neighbours=_taken(moved, gateways),
            routes=routes,
        )
    yield replace(
        plan,
        new_neighbours=tuple(new.items()),
        fdb=tuple(fdb.items()),
        moved_neighbours=tuple(moved.items()),
        routes=plan.routes[last:],
    )


def _taken(entries: dict[str, str], keys: set[str]) -> tuple[Pair, ...]:
    """Take what is under the keys out of a table."""
    return tuple((key, entries.pop(key)) for key in keys if key in entries)


def without_unreachable(plan: Plan, actual: Entries, device: str) -> Plan:
    """Leave out routes over the overlay's `device` whose neighbour or FDB entry is not in `actual`.

    `actual` is the state after the first writes; a route by another device rests on nothing of ours.
    """
    neighbours, fdb = actual.neighbours, actual.fdb
    reachable = tuple(
        (prefix, hop)
        for prefix, hop in plan.routes
        if neighbours.get(hop.gateway) in fdb or hop.device != device
    )
    return replace(plan, routes=reachable)


def without_routed(plan: Plan, gateways: Container[str], actual: Entries) -> Plan:
    """Leave out stale neighbours and FDB entries that a route over one of `gateways` still uses."""
    macs = {actual.neighbours.get(address) for address, _ in plan.stale_neighbours if address in gateways}
    return replace(
        plan,
        stale_fdb=tuple(item for item in plan.stale_fdb if item[0] not in macs),
        stale_neighbours=tuple(item for item in plan.stale_neighbours if item[0] not in gateways),
    )
