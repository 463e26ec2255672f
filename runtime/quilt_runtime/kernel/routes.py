"""Executes route changes exactly as they are given: looked up where they go, written in batches, answered one
by one. Nothing is remembered between calls: who decides about routes, and watches them, is the agent.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Collection, Sequence
from functools import cache, cached_property

import structlog

from quilt_crds.names import MESH_PROTOCOL
from quilt_netlink import (
    Create,
    Delete,
    Kernel,
    KernelLike,
    Link,
    NetlinkError,
    Nexthop,
    Op,
    Put,
    Route,
    require,
)
from quilt_runtime.core.errors import RequestError
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
    free_id,
    preferred_id,
    refusal,
    refusing,
    unclear,
)

log = structlog.get_logger()

ATTEMPTS = 3
FEW = 16
"""So many single look-ups cost less than reading a table of thousands."""


class RouteExecutor:
    """One call at a time; another program's change between looking and writing is met by looking again."""

    def __init__(self, kernel: KernelLike | None = None) -> None:
        self._lock = threading.Lock()
        self._kernel = kernel or Kernel.open()

    @cached_property
    def _objects(self) -> bool:
        """Whether the kernel has next hop objects at all (since 5.3)."""
        try:
            self._kernel.nexthops()
        except NetlinkError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return False
        return True

    def apply(self, adds: Sequence[Asked], removes: Sequence[str], terms: Terms) -> list[Outcome]:
        """Add, then remove; one outcome per item, adds first. Raises NetlinkError where reading fails."""
        with self._lock:
            items: list[Asked | str] = [*adds, *removes]
            pending = list(range(len(items)))
            outcomes = [UNCHANGED] * len(items)
            for attempt in range(ATTEMPTS):
                done = Attempt(self._kernel, terms, objects=self._objects, fully=attempt > 0)
                for item, outcome in zip(pending, done.run([items[i] for i in pending]), strict=True):
                    outcomes[item] = outcome
                pending = [item for item in pending if outcomes[item].raced]
                if not pending:
                    break
            return outcomes

    def refuse(self, destinations: Sequence[str], no_longer: Sequence[str]) -> list[Outcome]:
        """Have the kernel refuse to send where no other route leads, and stop that; one outcome per item."""
        ops: list[Op] = [Put(refusing(prefix)) for prefix in destinations]
        ops += [Delete(refusing(prefix)) for prefix in no_longer]
        outcomes = [CHANGED] * len(ops)
        with self._lock:
            for failure in self._kernel.apply(ops):
                outcomes[failure.index] = UNCHANGED if found_nothing(failure) else refusal(failure)
        return outcomes

    def held(self, protocol: int = MESH_PROTOCOL) -> list[Asked]:
        """Return the routes of a protocol as the kernel holds them."""
        with self._lock:
            nexthops = self._kernel.nexthops() if self._objects else []
            by_id, link = {nexthop.id: nexthop for nexthop in nexthops}, cache(self._kernel.link)
            found = [
                (route.prefix, by_id.get(route.nhid) or route) for route in self._kernel.routes(protocol)
            ]
            return [Asked(prefix, over.gateway, _name(link(over.ifindex), over)) for prefix, over in found]

    @property
    def busy(self) -> bool:
        """Whether a call is under way, so that another one would wait."""
        return self._lock.locked()

    def interface(self, name: str) -> Link:
        """Return an interface by name; raises RequestError where it does not exist."""
        with self._lock:
            link = self._kernel.link(name)
        if link is None:
            raise RequestError(f"Interface '{name}' not found", retryable=True)
        return link

    def remove_all(self) -> int:
        """Remove every route and next hop object of the mesh; returns how many routes were removed.

        Raises NetlinkError where one stays, after all were tried.
        """
        with self._lock:
            kernel = self._kernel
            routes = [route for route in kernel.routes() if route.protocol in OURS]
            refused = [entry for entry in kernel.unreachables() if entry.protocol in OURS]
            ops: list[Op] = [*map(Delete, routes), *map(Delete, refused)]
            if self._objects:
                ops += [Delete(nexthop) for nexthop in kernel.nexthops(MESH_PROTOCOL)]
            require(kernel.apply(ops), absent=True)
            return len(routes) + len(refused)

    def close(self) -> None:
        """Close the socket."""
        with self._lock:
            self._kernel.close()


class Attempt:
    """One look at the kernel, and the writes that follow from it."""

    def __init__(self, kernel: KernelLike, terms: Terms, *, objects: bool, fully: bool) -> None:
        self._kernel = kernel
        self._terms = terms
        self._objects = objects
        self._fully = fully
        self._link = cache(kernel.link)
        self._held: dict[str, list[Route]] = {}
        self._hops: dict[int, Hop] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._ops: list[tuple[int, Op]] = []
        self._left: set[int] = set()

    def run(self, items: Sequence[Asked | str]) -> list[Outcome]:
        """Return an outcome for each of the items."""
        # What is only added is created exclusively, without a look at the mesh's: only EEXIST asks for one.
        adding = not self._fully and all(isinstance(item, Asked) for item in items)
        prefixes = list(map(_prefix, items))
        self._held = held_at(
            self._kernel,
            set(prefixes),
            careful=self._terms.careful,
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
            link = self._link(item.interface)
            if link is None:
                text = f"Interface '{item.interface}' not found"
                self._outcomes[at] = Outcome(text, retryable=True)
                return
            self._hops[at] = item.gateway, link.index
        other = foreign(self._held.get(prefix, ()), beside_own=isinstance(item, Asked))
        if other is not None:
            device = _name(self._link(other.ifindex), other) if other.ifindex else ""
            self._outcomes[at] = Outcome(foreign_text(other, device))

    def _plan(self, at: int, prefix: str, item: Asked | str, ids: dict[Hop, int]) -> None:
        before = self._held.get(prefix, [])
        if isinstance(item, str):
            gone = [route for route in before if route.protocol in self._terms.removable]
            after = [route for route in before if route not in gone]
            self._ops += [(at, Delete(route)) for route in gone]
        else:
            hop = self._hops[at]
            route = item.over(hop[1], ids.get(hop, 0), self._terms.protocol)
            op = addition(route, before, self._terms.keep)
            if op is None:
                return
            gone, after = before, [route]
            self._ops.append((at, op))
        self._held[prefix] = after
        self._left.update(route.nhid for route in gone if route.nhid)

    def _next_hops(self) -> dict[Hop, int]:
        """Return the id of each gateway's next hop object, which is made where it is not there."""
        users: dict[Hop, list[int]] = {}
        for at, hop in self._hops.items():
            if hop[0] and at not in self._outcomes:
                users.setdefault(hop, []).append(at)
        ids = {hop: preferred_id(hop[0]) for hop in users}
        if taken := self._create(ids, users):
            known = {nexthop.id: nexthop for nexthop in self._kernel.nexthops()}
            own = {(n.gateway, n.ifindex): n.id for n in known.values() if n.protocol == MESH_PROTOCOL}
            others = {hop: free_id(hop[0], known) for hop in taken if hop not in own}
            ids |= own | others
            raced = Outcome("Next hop ids are being taken; try again", retryable=True, raced=True)
            for hop in self._create(others, users):
                self._outcomes |= dict.fromkeys(users[hop], raced)
        return ids

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
        """Write the routes in one batch, and remove the next hop objects that are left without one."""
        failed = False
        self._outcomes.update({at: CHANGED for at, _ in self._ops})
        for failure in self._kernel.apply([op for _, op in self._ops]):
            if not found_nothing(failure):
                self._outcomes[self._ops[failure.index][0]] = refusal(failure)
                failed = True
        if self._objects and (self._left or failed):
            self._remove_unused()

    def _remove_unused(self) -> None:
        """Remove our next hop objects that no route uses; what fails is no failure of what was asked for."""
        try:
            nexthops, used = (
                self._kernel.nexthops(MESH_PROTOCOL),
                {route.nhid for route in self._kernel.routes()},
            )
            unused = [Delete(nexthop) for nexthop in nexthops if nexthop.id not in used]
            require(self._kernel.apply(unused), absent=True)
        except NetlinkError as error:
            log.warning("next_hops_not_removed", reason=str(error))


def _prefix(item: Asked | str) -> str:
    return item if isinstance(item, str) else item.destination


def held_at(
    kernel: KernelLike,
    prefixes: Collection[str],
    *,
    careful: bool = False,
    fully: bool = False,
    but: frozenset[int] = frozenset(),
) -> dict[str, list[Route]]:
    """Return the main table's unicast routes at those of these prefixes that have any; raises NetlinkError.

    Where these are many, routes of the protocols in `but` need not be among them.
    A single look-up shows the route that counts at a prefix. Where it shows another one, the whole table is
    read: for a route of a longer prefix or of another table, and for none at all if the call is `careful`
    (before Linux 5.14 an address of the host's own precedes its network's route).
    """
    if not fully and len(prefixes) <= FEW:
        found = {prefix: kernel.route_get(prefix.partition("/")[0], fib_match=True) for prefix in prefixes}
        if not any(unclear(route, prefix, careful=careful) for prefix, route in found.items()):
            return {prefix: [route] for prefix, route in found.items() if route and route.prefix == prefix}
    held: dict[str, list[Route]] = {}
    for route in kernel.routes(but=but):
        if route.prefix in prefixes:
            held.setdefault(route.prefix, []).append(route)
    return held


def _name(link: Link | None, over: Route | Nexthop) -> str:
    """Return the name of a route's interface, or its index in words where it does not exist."""
    return link.name if link else f"if{over.ifindex}"
