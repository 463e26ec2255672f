"""In which order what is pending is written, so that no packet meets a half-made peer.

A route is only ever written over entries of the overlay that are there, and those only go after the route
over them. Which entries in which order is the overlay's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from quilt_nodeagent.core.overlay import Entry, Hop, Mark, Overlay, Tables

Hops = tuple[str, Hop]
"""A prefix and where it leads."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Writes in the order of the fields: `before` is made before routes, `after` removed after they are.

    `unreachable` and `stale_unreachable` are prefixes that are refused where no route leads, and no longer:
    nothing rests on them.
    """

    unreachable: tuple[str, ...] = ()
    stale_unreachable: tuple[str, ...] = ()
    before: tuple[Entry, ...] = ()
    routes: tuple[Hops, ...] = ()
    stale_routes: tuple[str, ...] = ()
    after: tuple[Entry, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.marks())

    def marks(self) -> set[Mark]:
        """Places of everything that is written or removed."""
        marks: set[Mark] = {(kind, key) for kind, key, _ in (*self.before, *self.after)}
        marks |= {("unreachable", prefix) for prefix in (*self.unreachable, *self.stale_unreachable)}
        return marks | {("route", key) for key in (*dict(self.routes), *self.stale_routes)}


def make_plan(tables: Tables, overlay: Overlay) -> Plan:
    """Order what is pending."""
    before, after = overlay.order(tables)
    routes, unreachable = tables.routes.pending, tables.unreachable.pending
    return Plan(
        unreachable=tuple(unreachable.put),
        stale_unreachable=tuple(unreachable.drop),
        before=tuple(before),
        routes=tuple(routes.put.items()),
        stale_routes=tuple(routes.drop),
        after=tuple(after),
    )


def parts(plan: Plan, tables: Tables, overlay: Overlay, size: int) -> Iterator[Plan]:
    """Cut a plan for an empty device into plans of `size` entries of each kind, and routes, and larger ones.

    So that a part's routes can be on their way while the next part's entries are written. Each is twice as
    large as all before it: the runtime reads the routes that exist before it writes a part's, and needs twice
    as long for these as the entries of one need here. But none is larger than six first ones: what the kernel
    tells of it waits until it is written, in a queue of some size. Each kind is cut in its own order: a route
    may be ahead of what it rests on, and then waits (`reachable`). What is stale comes with the last part.
    Where anything is programmed, traffic may be on it, and the plan's order is kept.
    """
    kinds = [[entry for entry in plan.before if entry[0] == kind] for kind in overlay.kinds]
    longest = max(len(plan.routes), *map(len, kinds))
    if longest <= size or not all(tables.of[kind].empty for kind in overlay.kinds):
        yield plan
        return
    start, end = 0, size
    while end < longest:
        cut = slice(start, end)
        yield Plan(before=tuple(chain(*(kind[cut] for kind in kinds))), routes=plan.routes[cut])
        start, end = end, min(3 * end, end + 6 * size)
    rest = slice(start, None)
    yield replace(plan, before=tuple(chain(*(kind[rest] for kind in kinds))), routes=plan.routes[rest])


def reachable(
    routes: Iterable[Hops], tables: Tables, overlay: Overlay, device: str
) -> tuple[list[Hops], list[Hops]]:
    """Sort routes into those that can be written, and those that lead nowhere yet.

    These go over the overlay's `device`, and something that they rest on is not there after the writes so
    far; a route by another device rests on nothing of the mesh.
    """
    ready: list[Hops] = []
    waiting: list[Hops] = []
    for route in routes:
        needed = overlay.rests_on(route[1], tables) if route[1].device == device else ()
        there = all(tables.of[kind].held(key) is not None for kind, key in needed)
        (ready if there else waiting).append(route)
    return ready, waiting


def without_routed(plan: Plan, hops: Iterable[Hop], tables: Tables, overlay: Overlay) -> Plan:
    """Leave out of what is removed what routes over these hops still rest on."""
    kept = set(chain.from_iterable(overlay.rests_on(hop, tables) for hop in hops))
    return replace(plan, after=tuple(entry for entry in plan.after if entry[:2] not in kept))
