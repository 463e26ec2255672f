"""Routes of this node alone, as its QuiltNode says: networks behind an interface that is not the mesh's.

The interface may have to be discovered, and all of them are made to stand again at each moment that could
have lost them: cold start, the node coming into sync, the runtime coming back, a change of the wishes or of
the kernel; and now and then without a reason, since a bridge that learns a MAC late tells nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from ipaddress import ip_network

from quilt_crds.wire import NodeRoute
from quilt_kube.aio import wait
from quilt_log import log
from quilt_netlink import Address, Link, NetlinkError, Route
from quilt_nodeagent.executor.client import ExecutorError
from quilt_nodeagent.executor.routes import Routes
from quilt_nodeagent.metrics import Metrics

# Seconds between looks without a reason.
_AGAIN = 60.0


@dataclass
class NodeRoutes:
    """Keeps the wished routes. `mesh()` are the cluster's CIDRs, `changed()` hears that `problems` did."""

    routes: Routes
    metrics: Metrics
    _: KW_ONLY
    mesh: Callable[[], Iterable[str]]
    changed: Callable[[], None]

    def __post_init__(self) -> None:
        self._wishes: dict[str, NodeRoute] = {}
        self._stale: set[str] = set()
        self._standing: dict[str, str] = {}
        self._problems: dict[str, str] = {}
        self._wake = asyncio.Event()

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each route that does not stand."""
        return tuple(self._problems[prefix] for prefix in sorted(self._problems))

    @property
    def missing(self) -> int:
        """How many of the wished routes are not known to stand."""
        return len(self._wishes) - len(self._standing)

    def want(self, routes: Iterable[NodeRoute]) -> None:
        """Set the wishes; routes that are no longer among them are removed."""
        wishes = {route.destination: route for route in routes}
        if wishes != self._wishes:
            self._stale = (self._stale | self._wishes.keys()) - wishes.keys()
            self._standing = {prefix: name for prefix, name in self._standing.items() if prefix in wishes}
            self._wishes = wishes
            self.ensure("wishes")

    def ensure(self, cause: str) -> None:
        """Make all of them stand now; `cause` is a word for the log."""
        if self._wishes or self._stale:
            log.debug("node_routes_due", cause=cause, routes=len(self._wishes))
            self._wake.set()

    def notice(self, entry: Link | Address | Route, new: bool) -> None:
        """Take in a notification of the kernel: routes go silently with their interface."""
        if isinstance(entry, Link) and (self.missing or entry.name in self._standing.values()):
            self.ensure("link")
        if isinstance(entry, Route) and not new and entry.prefix in self._wishes:
            self.ensure("route")

    async def run(self) -> None:
        """Keep them for ever. What comes while retries are under way begins them again."""
        while True:
            self._wake.clear()
            work = asyncio.create_task(self._pass())
            try:
                await wait(self._wake, _AGAIN if self._wishes or self._stale else None)
            finally:
                work.cancel()
            await asyncio.wait([work])
            if not work.cancelled():
                work.result()

    async def _pass(self) -> None:
        for prefix in sorted(self._stale):
            await self._remove(prefix)
        await asyncio.gather(*map(self._ensure, self._wishes.values()))

    async def _remove(self, prefix: str) -> None:
        try:
            if not await self.routes.remove_route(prefix):
                return
        except ExecutorError as error:
            # Somebody else's by now, and so no longer this agent's to remove.
            log.warning("node_route_not_removed", prefix=prefix, error=str(error))
        self._stale.discard(prefix)
        self._note(prefix, "")

    async def _ensure(self, route: NodeRoute) -> None:
        prefix = route.destination
        if taken := self._taken(prefix):
            self._note(prefix, f"Route {prefix} of this node would be inside the cluster's {taken}.")
            return
        try:
            interface = await self.routes.ensure_route_with_retry(route)
        except (ExecutorError, NetlinkError) as error:
            self._standing.pop(prefix, None)
            self.metrics.runtime_errors.labels(type(error).__name__).inc()
            self._note(prefix, f"Route {prefix} of this node does not stand: {error}")
            return
        if self._standing.get(prefix) != interface:
            self._standing[prefix] = interface
            log.info("node_route_programmed", prefix=prefix, interface=interface)
        self._note(prefix, "")

    def _taken(self, prefix: str) -> str:
        """Return the mesh's own network that a route would lead astray, empty without one."""
        network = ip_network(prefix)
        same = (one for one in map(ip_network, self.mesh()) if one.version == network.version)
        return next((str(one) for one in same if one.overlaps(network)), "")

    def _note(self, prefix: str, problem: str) -> None:
        if self._problems.get(prefix, "") == problem:
            return
        if problem:
            self._problems[prefix] = problem
            log.warning("node_route_failed", prefix=prefix, error=problem)
        else:
            del self._problems[prefix]
        self.changed()
