"""One look at the kernel's routes, and the writes that follow from it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Sequence
from functools import cache

from quilt_crds.names import MESH_PROTOCOL
from quilt_netlink import Create, Delete, KernelLike, Link, Nexthop, Op, Route
from quilt_runtime.core.routes import (
    CHANGED,
    OURS,
    UNCHANGED,
    Asked,
    Hop,
    Outcome,
    Terms,
    addition,
    foreign,
    foreign_text,
    found_nothing,
    next_id,
    preferred_id,
    refusal,
    unclear,
)

FEW = 16
"""So many single look-ups cost less than reading a table of thousands."""


class Attempt:
    """Looks, then writes; `left` tells whether a next hop object may be without a route now."""

    def __init__(self, kernel: KernelLike, terms: Terms, *, objects: bool, fully: bool) -> None:
        self._kernel = kernel
        self._terms = terms
        self._objects = objects
        self._fully = fully
        self._link = cache(kernel.link)
        self._index = cache(kernel.index)
        self._held: dict[str, list[Route]] = {}
        self._hops: dict[int, Hop] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._ops: list[tuple[int, Op]] = []
        self.left = False

    def run(self, items: Sequence[Asked | str]) -> list[Outcome]:
        """Return an outcome for each of the items."""
        # What is only added is created exclusively, without a look at the mesh's: only EEXIST asks for one.
        adding = not self._fully and all(isinstance(item, Asked) for item in items)
        prefixes = list(map(_prefix, items))
        self._held = held_at(
            self._kernel,
            set(prefixes),
            fully=self._fully,
            but=OURS if adding else frozenset(),
        )
        for at, (prefix, item) in enumerate(zip(prefixes, items, strict=True)):
            self._look(at, prefix, item)
        ids = self._next_hops() if self._objects else {}
        for at, (prefix, item) in enumerate(zip(prefixes, items, strict=True)):
            if at not in self._outcomes:
                self._plan(at, prefix, item, ids)
        self._write()
        return [self._outcomes.get(at, UNCHANGED) for at in range(len(items))]

    def _look(self, at: int, prefix: str, item: Asked | str) -> None:
        """Note over what an item's route leads, or why nothing can be written for it."""
        if isinstance(item, Asked):
            hop = self._hop(item)
            if hop is None:
                text = f"Interface '{item.interface}' not found"
                self._outcomes[at] = Outcome(text, retryable=True)
                return
            self._hops[at] = hop
        held = self._held.get(prefix)
        other = foreign(held, beside_own=isinstance(item, Asked)) if held else None
        if other is not None:
            device = name_of(self._link(other.ifindex), other) if other.ifindex else ""
            self._outcomes[at] = Outcome(foreign_text(other, device))

    def _hop(self, item: Asked) -> Hop | None:
        """Return over what a route leads; None where its interface does not exist."""
        if not self._terms.by_vteps:
            index = self._index(item.interface)
            return (item.gateway, index) if index else None
        link = self._link(item.interface)
        if link is None:
            return None
        gateway = item.destination.partition("/")[0] if link.kind == "vxlan" else item.gateway
        return gateway, link.index

    def _plan(self, at: int, prefix: str, item: Asked | str, ids: dict[Hop, int]) -> None:
        before = self._held.get(prefix, [])
        if isinstance(item, str):
            gone = [route for route in before if route.protocol in self._terms.removable]
            after = [route for route in before if route not in gone]
            self._ops += [(at, Delete(route)) for route in gone]
        else:
            hop = self._hops[at]
            route = item.over(hop, ids.get(hop, 0), self._terms.protocol)
            op = addition(route, before, self._terms.keep)
            if op is None:
                return
            gone, after = before, [route]
            self._ops.append((at, op))
        self._held[prefix] = after
        if gone:
            self.left = self.left or any(route.nhid for route in gone)

    def _next_hops(self) -> dict[Hop, int]:
        """Return the id of each gateway's next hop object, which is made where it is not there."""
        users: dict[Hop, list[int]] = {}
        for at, hop in self._hops.items():
            if hop[0] and at not in self._outcomes:
                users.setdefault(hop, []).append(at)
        ids = {hop: preferred_id(hop[0]) for hop in users}
        # What a route hangs on already is there: looked up, rather than made in vain first.
        used = {route.nhid for routes in self._held.values() for route in routes}
        taken = [hop for hop, nhid in ids.items() if nhid in used]
        taken += self._create({hop: nhid for hop, nhid in ids.items() if nhid not in used}, users)
        if taken:
            others = self._elsewhere(taken, ids)
            raced = Outcome("Next hop ids are being taken; try again", retryable=True, raced=True)
            for hop in self._create(others, users):
                self._outcomes |= dict.fromkeys(users[hop], raced)
        return ids

    def _elsewhere(self, taken: Sequence[Hop], ids: dict[Hop, int]) -> dict[Hop, int]:
        """Note in `ids` where next hops are whose preferred id is taken; return those yet to be made.

        Each is under the first id from the preferred one on that is its own already, or that nobody has.
        """
        look: Callable[[int], Nexthop | None] = self._kernel.nexthop
        if len(taken) > FEW:
            look = {nexthop.id: nexthop for nexthop in self._kernel.nexthops()}.get
        made = {}
        for hop in taken:
            found = look(ids[hop])
            while found not in (None, Nexthop(ids[hop], hop[1], hop[0], MESH_PROTOCOL)):
                ids[hop] = next_id(ids[hop])
                found = look(ids[hop])
            if found is None:
                made[hop] = ids[hop]
        return made

    def _create(self, ids: dict[Hop, int], users: dict[Hop, list[int]]) -> list[Hop]:
        """Make next hop objects; return those whose id is taken."""
        hops = list(ids)
        ops: list[Op] = [Create(Nexthop(ids[hop], hop[1], hop[0], MESH_PROTOCOL)) for hop in hops]
        taken = []
        for failure in self._kernel.apply(ops):
            if failure.errno == errno.EEXIST:
                taken.append(hops[failure.index])
            else:
                self._outcomes |= dict.fromkeys(users[hops[failure.index]], refusal(failure))
        return taken

    def _write(self) -> None:
        self._outcomes.update({at: CHANGED for at, _ in self._ops})
        for failure in self._kernel.apply([op for _, op in self._ops]):
            if not found_nothing(failure):
                self._outcomes[self._ops[failure.index][0]] = refusal(failure)
                self.left = True


def _prefix(item: Asked | str) -> str:
    return item if isinstance(item, str) else item.destination


def held_at(
    kernel: KernelLike,
    prefixes: Collection[str],
    *,
    fully: bool = False,
    but: frozenset[int] = frozenset(),
) -> dict[str, list[Route]]:
    """Return the main table's unicast routes at those of these prefixes that have any; raises NetlinkError.

    Where these are many, routes of the protocols in `but` need not be among them.
    A single look-up shows the route that counts at a prefix. Where it shows another one, the whole table is
    read: for a route of a longer prefix or of another table, as an address of the host's own is (before Linux
    5.14 also a network's first address, as one for broadcasts).
    """
    if not fully and len(prefixes) <= FEW:
        found = {prefix: kernel.route_get(prefix.partition("/")[0], fib_match=True) for prefix in prefixes}
        if not any(unclear(route, prefix) for prefix, route in found.items()):
            return {prefix: [route] for prefix, route in found.items() if route and route.prefix == prefix}
    held: dict[str, list[Route]] = {}
    for route in kernel.routes(but=but):
        if route.prefix in prefixes:
            held.setdefault(route.prefix, []).append(route)
    return held


def name_of(link: Link | None, over: Route | Nexthop) -> str:
    """Return the name of a route's interface, or its index in words where it does not exist."""
    return link.name if link else f"if{over.ifindex}"
