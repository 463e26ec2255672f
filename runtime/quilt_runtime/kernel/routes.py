"""Executes route changes: planned against what the kernel holds, written in batches, told item by item."""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from quilt_netlink import Delete, Failure, Link, NetlinkError, Op, require
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.routes import OURS, PROTOCOL_MESH, Plan, Planner, Wanted, described
from quilt_runtime.kernel.routeview import RouteView

RETRYABLE = frozenset(
    {errno.ENETDOWN, errno.EEXIST, errno.EINTR, errno.EBUSY, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN}
)
RACED = frozenset({errno.EEXIST, errno.ENOENT, errno.ESRCH, errno.EINVAL})
ATTEMPTS = 3
MANY = 100
"""So many routes at once are a node's first, which can be planned in columns."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item; `error` empty on success, `changed` where something was written for it."""

    error: str = ""
    retryable: bool = False
    changed: bool = False
    raced: bool = False
    """The view may have been stale, or another program wrote in between: the call tries again."""


class Asked(NamedTuple):
    """An add as asked for, already checked: canonical destination, gateway empty for a link-scope route."""

    destination: str
    gateway: str
    interface: str


@dataclass(frozen=True, slots=True)
class Terms:
    """How a call writes: as `protocol`; removes only `removable`; an equal route of `keep` will do."""

    protocol: int
    removable: frozenset[int] = frozenset()
    keep: frozenset[int] = frozenset()


UNCHANGED, CHANGED = Outcome(), Outcome(changed=True)


class RouteExecutor:
    """One call at a time; another program's change between reading and writing is met by reading again."""

    def __init__(self, view: RouteView | None = None) -> None:
        self._lock = threading.Lock()
        self._view = view or RouteView()

    def apply(self, adds: Sequence[Asked], removes: Sequence[str], terms: Terms) -> list[Outcome]:
        """Add, then remove; one outcome per item, adds first. Raises NetlinkError where reading fails."""
        with self._lock:
            pending = list(range(len(adds) + len(removes)))
            outcomes = [UNCHANGED] * len(pending)
            for _ in range(ATTEMPTS):
                done = _Attempt(self._view, adds, removes, terms).run(pending)
                for item, outcome in zip(pending, done, strict=True):
                    outcomes[item] = outcome
                pending = [item for item in pending if outcomes[item].raced]
                if not pending:
                    break
                self._view.forget()
            return outcomes

    def held(self, protocol: int = PROTOCOL_MESH) -> list[Asked]:
        """Return the routes of a protocol as the kernel holds them."""
        with self._lock:
            tables, _ = self._view.tables()
            names = _Names(self._view)
            return [Asked(prefix, via, names.of(index)) for prefix, via, index in described(tables, protocol)]

    @property
    def busy(self) -> bool:
        """Whether a call is under way, so that another one would wait."""
        return self._lock.locked()

    def interface(self, name: str) -> Link:
        """Return an interface by name; raises RequestError where it does not exist."""
        with self._lock:
            self._view.hear()
            link = self._view.link(name)
        if link is None:
            raise RequestError(f"Interface '{name}' not found", retryable=True)
        return link

    def remove_all(self) -> int:
        """Remove every route and nexthop object of ours; returns how many routes went.

        Raises NetlinkError where one stays, after all were tried.
        """
        with self._lock:
            kernel = self._view.kernel
            routes = [route for route in kernel.routes() if route.protocol in OURS]
            refused = [entry for entry in kernel.unreachables() if entry.protocol in OURS]
            ops: list[Op] = [*map(Delete, routes), *map(Delete, refused)]
            ops += [Delete(nexthop) for nexthop in kernel.nexthops(PROTOCOL_MESH)]
            failures = kernel.apply(ops)
            self._view.forget()
            require(failures, absent=True)
            return len(routes) + len(refused)

    def close(self) -> None:
        """Close the sockets."""
        with self._lock:
            self._view.close()


class _Names:
    """Interface names by index and back, asked of the kernel once each."""

    def __init__(self, view: RouteView) -> None:
        self._view = view
        self._links: dict[str | int, Link | None] = {}

    def link(self, key: str | int) -> Link | None:
        if key not in self._links:
            self._links[key] = self._view.link(key)
        return self._links[key]

    def of(self, index: int) -> str:
        link = self.link(index)
        return link.name if link else f"if{index}"


class _Attempt:
    """One plan against one state of the kernel, and its writes."""

    def __init__(self, view: RouteView, adds: Sequence[Asked], removes: Sequence[str], terms: Terms) -> None:
        self._view = view
        self._adds = adds
        self._removes = removes
        self._terms = terms
        self._names = _Names(view)
        self._outcomes: dict[int, Outcome] = {}

    def run(self, items: Sequence[int]) -> list[Outcome]:
        """Return an outcome for each of the items."""
        plan, fresh = self._plan(items)
        for item, text in plan.refused.items():
            # Nobody is refused on the ground of what may be gone by now.
            self._outcomes[item] = Outcome(text, raced=not fresh)
        self._write(plan)
        failed = self._view.kernel.apply(plan.garbage)
        if failed or self._outcomes:
            self._view.forget()
        written = set(plan.routes.items)
        return [self._outcomes.get(item) or (CHANGED if item in written else UNCHANGED) for item in items]

    def _plan(self, items: Sequence[int]) -> tuple[Plan, bool]:
        tables, fresh = self._view.tables()
        planner = Planner(tables, self._names.of)
        adds, protocol, keep = len(self._adds), self._terms.protocol, self._terms.keep
        indexes: dict[str, int] = {}
        for item in items[adds:] if self._plan_new(planner, items) else items:
            if item >= adds:
                planner.remove(item, self._removes[item - adds], self._terms.removable)
                continue
            destination, gateway, interface = self._adds[item]
            index = indexes.get(interface)
            if index is None:
                index = indexes[interface] = self._index(interface)
            if index:
                planner.add(item, Wanted(destination, index, gateway), protocol, keep)
            else:
                self._outcomes[item] = Outcome(f"Interface '{interface}' not found", retryable=True)
        return planner.finish(also=tables.unused() if fresh else ()), fresh

    def _plan_new(self, planner: Planner, items: Sequence[int]) -> bool:
        """Plan all adds at once where they are many, by one device, and to what nobody has."""
        if len(self._adds) < MANY or len(items) < len(self._adds) + len(self._removes):
            return False
        destinations, gateways, interfaces = zip(*self._adds, strict=True)
        if len(set(interfaces)) > 1:
            return False
        index = self._index(interfaces[0])
        return bool(index) and planner.add_new(destinations, gateways, index, self._terms.protocol)

    def _index(self, interface: str) -> int:
        """Return the index of an interface that routes are to hang on, 0 where it does not exist."""
        link = self._names.link(interface)
        if link is None:
            return 0
        self._view.depend_on(link.index)
        return link.index

    def _write(self, plan: Plan) -> None:
        """Write in one batch, each nexthop object before its routes; what is refused first is what is told.

        A route over an id that another program took this very moment stands until the next attempt, which
        follows at once.
        """
        items = plan.nexthops.items + plan.routes.items
        for failure in self._view.kernel.apply(plan.nexthops.ops + plan.routes.ops):
            if not (isinstance(failure.op, Delete) and failure.absent):
                self._outcomes.setdefault(items[failure.index], _refusal(failure))


def _refusal(failure: Failure) -> Outcome:
    error = NetlinkError(failure.errno, failure.message)
    entry = failure.op.entry
    what = getattr(entry, "prefix", "") or f"next hop {getattr(entry, 'gateway', entry)}"
    hint = "; bring its interface up" if failure.errno == errno.ENETDOWN else ""
    text = f"Kernel refused {what}: {error.message}{hint}"
    return Outcome(text, failure.errno in RETRYABLE, raced=failure.errno in RACED)
