"""The life of a single route: find its interface by typed reads of the kernel, then tell the executor.

The mesh's own routes go in bulk through the reconciler; this is the path for one route whose interface may
have to be discovered, with the retries that its contract names. `noderoutes` decides which and when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from quilt_crds.wire import NodeRoute
from quilt_log import log
from quilt_netlink import KernelLike
from quilt_nodeagent.executor.client import (
    BridgeNotReady,
    ExecutorError,
    RouteFailed,
    RuntimeClient,
    RuntimeUnavailable,
)

# Seconds between attempts; a bridge learns a MAC with the guest's first frame.
DELAY = 2.0
ATTEMPTS_DISCOVERED = 5
ATTEMPTS_KNOWN = 2


@dataclass
class Routes:
    """Makes single routes stand, or says with a typed error why they do not."""

    kernel: KernelLike
    runtime: RuntimeClient
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def resolve(self, route: NodeRoute) -> str:
        """Return the name of a route's interface: the one named, or the bridge that has the member's MAC.

        Raises BridgeNotReady while the kernel does not know it.
        """
        name, member = route.interface, route.bridge_member.lower()
        if not member:
            if self.kernel.link(name) is None:
                raise BridgeNotReady(f"Interface {name!r} does not exist yet.")
            return name
        for link in self.kernel.links():
            if link.kind == "bridge" and member in {item.mac for item in self.kernel.bridge_fdb(link.index)}:
                return link.name
        raise BridgeNotReady(f"No bridge knows the MAC {member} yet.")

    async def ensure_route(self, route: NodeRoute) -> str:
        """Make the route stand and return its interface; raises the typed errors."""
        name = self.resolve(route)
        try:
            await self.runtime.inject_route(route.destination, name)
        except RouteFailed as error:
            raise RouteFailed(f"{route.destination} via {name}: {error}") from error
        return name

    async def ensure_route_with_retry(self, route: NodeRoute) -> str:
        """Like ensure_route, again where that makes sense; raises the last attempt's error."""
        attempts = ATTEMPTS_DISCOVERED if route.bridge_member else ATTEMPTS_KNOWN
        for attempt in range(1, attempts):
            try:
                return await self.ensure_route(route)
            except ExecutorError as error:
                if not error.retryable:
                    raise
                prefix, text = route.destination, str(error)
                log.info("route_retried", prefix=prefix, attempt=attempt, of=attempts, error=text)
                await self.sleep(DELAY)
        return await self.ensure_route(route)

    async def remove_route(self, prefix: str) -> bool:
        """Remove a route; false where an unreachable executor leaves it to the next reconcile."""
        try:
            await self.runtime.remove_route(prefix)
        except RuntimeUnavailable as error:
            log.info("route_removal_postponed", prefix=prefix, error=str(error))
            return False
        return True
