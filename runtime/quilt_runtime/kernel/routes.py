"""Executes route changes exactly as they are given: looked up where they go, written in batches, answered one
by one. Nothing is remembered between calls: who decides about routes, and watches them, is the agent.

Next hop objects that changes leave without a route are looked for a moment after, once for all of them: the
kernel cannot be asked who uses one, and all routes are read in more time than one is changed.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Sequence
from functools import cache, cached_property

from quilt_crds.names import MESH_PROTOCOL
from quilt_log import log
from quilt_netlink import (
    Delete,
    Kernel,
    KernelLike,
    NetlinkError,
    Op,
    Put,
    require,
)
from quilt_runtime.core.routes import (
    CHANGED,
    OURS,
    UNCHANGED,
    Asked,
    Outcome,
    Terms,
    found_nothing,
    refusal,
    refusing,
)
from quilt_runtime.kernel.route_attempt import Attempt, name_of

ATTEMPTS = 3
# Unused next hop objects are looked for in tables of thousands, for tens of milliseconds: so long after the
# last call, but while calls never cease so long after the first that may have left one.
TIDY_S = 1.0
TIDY_AT_LAST_S = 60.0


class RouteExecutor:
    """One call at a time; another program's change between looking and writing is met by looking again."""

    def __init__(self, kernel: KernelLike | None = None) -> None:
        self._lock = threading.Lock()
        self._kernel = kernel or Kernel.open()
        self._tidying: threading.Timer | None = None
        self._called_at = 0.0

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
            self._called_at = time.monotonic()
            items: list[Asked | str] = [*adds, *removes]
            pending = list(range(len(items)))
            outcomes = [UNCHANGED] * len(items)
            for attempt in range(ATTEMPTS):
                done = Attempt(self._kernel, terms, objects=self._objects, fully=attempt > 0)
                for item, outcome in zip(pending, done.run([items[i] for i in pending]), strict=True):
                    outcomes[item] = outcome
                if done.left and self._objects:
                    self._tidy_soon()
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
            return [Asked(prefix, over.gateway, name_of(link(over.ifindex), over)) for prefix, over in found]

    @property
    def busy(self) -> bool:
        """Whether a call is under way, so that another one would wait."""
        return self._lock.locked()

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

    def remove_unused(self) -> None:
        """Remove the mesh's next hop objects that no route uses; what fails is only logged."""
        with self._lock:
            if self._tidying is not None:
                self._tidying.cancel()
                self._tidying = None
            try:
                nexthops = self._kernel.nexthops(MESH_PROTOCOL)
                used = {route.nhid for route in self._kernel.routes()}
                unused = [Delete(nexthop) for nexthop in nexthops if nexthop.id not in used]
                require(self._kernel.apply(unused), absent=True)
            except NetlinkError as error:
                log.warning("next_hops_not_removed", reason=str(error))

    def _tidy_soon(self) -> None:
        if self._tidying is None:
            self._tidy_in(TIDY_S, self._called_at + TIDY_AT_LAST_S)

    def _tidy_in(self, seconds: float, at_last: float) -> None:
        self._tidying = threading.Timer(seconds, self._tidy, (at_last,))
        self._tidying.daemon = True
        self._tidying.start()

    def _tidy(self, at_last: float) -> None:
        """Remove what is unused unless calls are still coming: not before the time `at_last` then."""
        with self._lock:
            if self._tidying is None:
                return
            due = self._called_at + TIDY_S
            now = time.monotonic()
            if now < min(due, at_last):
                self._tidy_in(due - now, at_last)
                return
        self.remove_unused()

    def close(self) -> None:
        """Close the socket, after what is still to be removed."""
        if self._tidying is not None:
            self.remove_unused()
        with self._lock:
            self._kernel.close()
