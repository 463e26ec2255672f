"""Executes route changes exactly as they are given: looked up where they go, written in batches, answered one
by one. Nothing is remembered between calls: who decides about routes, and watches them, is the agent.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Sequence

from quilt_crds.names import MESH_PROTOCOL
from quilt_netlink import Delete, Kernel, KernelLike, Link, NetlinkError, Op, Put, Unreachable, require
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.routes import (
    CHANGED,
    LOWEST_PREFERENCE,
    OURS,
    UNCHANGED,
    Asked,
    Outcome,
    Terms,
    described,
)
from quilt_runtime.kernel.attempt import Attempt, found_nothing, refusal
from quilt_runtime.kernel.lookup import Names

ATTEMPTS = 3


class RouteExecutor:
    """One call at a time; another program's change between looking and writing is met by looking again."""

    def __init__(self, kernel: KernelLike | None = None) -> None:
        self._lock = threading.Lock()
        self._kernel = kernel or Kernel.open()
        self._objects: bool | None = None

    def apply(self, adds: Sequence[Asked], removes: Sequence[str], terms: Terms) -> list[Outcome]:
        """Add, then remove; one outcome per item, adds first. Raises NetlinkError where reading fails."""
        with self._lock:
            if self._objects is None:
                self._objects = has_objects(self._kernel)
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
        ops: list[Op] = [Put(_refusing(prefix)) for prefix in destinations]
        ops += [Delete(_refusing(prefix)) for prefix in no_longer]
        outcomes = [CHANGED] * len(ops)
        with self._lock:
            for failure in self._kernel.apply(ops):
                outcomes[failure.index] = UNCHANGED if found_nothing(failure) else refusal(failure)
        return outcomes

    def held(self, protocol: int = MESH_PROTOCOL) -> list[Asked]:
        """Return the routes of a protocol as the kernel holds them."""
        with self._lock:
            nexthops = self._kernel.nexthops() if has_objects(self._kernel) else []
            names = Names(self._kernel)
            found = described(self._kernel.routes(protocol), nexthops)
            return [Asked(prefix, via, names.of(index)) for prefix, via, index in found]

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
        """Remove every route and next hop object of ours; returns how many routes went.

        Raises NetlinkError where one stays, after all were tried.
        """
        with self._lock:
            kernel = self._kernel
            routes = [route for route in kernel.routes() if route.protocol in OURS]
            refused = [entry for entry in kernel.unreachables() if entry.protocol in OURS]
            ops: list[Op] = [*map(Delete, routes), *map(Delete, refused)]
            if has_objects(kernel):
                ops += [Delete(nexthop) for nexthop in kernel.nexthops(MESH_PROTOCOL)]
            require(kernel.apply(ops), absent=True)
            return len(routes) + len(refused)

    def close(self) -> None:
        """Close the socket."""
        with self._lock:
            self._kernel.close()


def has_objects(kernel: KernelLike) -> bool:
    """Whether the kernel has next hop objects at all (since 5.3)."""
    try:
        kernel.nexthops()
    except NetlinkError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return False
    return True


def _refusing(prefix: str) -> Unreachable:
    return Unreachable(prefix, MESH_PROTOCOL, LOWEST_PREFERENCE)
