"""The life of a single route: find its interface by typed reads of the kernel, then tell the executor.

The mesh's own routes go in bulk through the reconciler; this is the path for one route whose interface may
have to be discovered, with the retries that its contract names. `noderoutes` decides which and when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from quilt_netlink import KernelLike
from quilt_nodeagent.executor.client import (
    BridgeNotReady,
    ExecutorError,
    RouteFailed,
    RuntimeClient,
    RuntimeUnavailable,
)

log = structlog.get_logger()

# Seconds between attempts; a bridge learns a MAC with the guest's first frame.
DELAY = 2.0
ATTEMPTS_DISCOVERED = 5
ATTEMPTS_KNOWN = 2


@dataclass(frozen=True, slots=True)
class Named:
    """An interface whose name is known."""

    name: str


@dataclass(frozen=True, slots=True)
class BridgeOf:
    """The bridge behind whose ports the MAC `member` is."""

    member: str


Interface = Named | BridgeOf


class Routes:
    """Makes single routes stand, or says with a typed error why they do not."""

    def __init__(
        self,
        kernel: KernelLike,
        runtime: RuntimeClient,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._kernel = kernel
        self._runtime = runtime
        self._sleep = sleep

    def resolve(self, interface: Interface) -> str:
        """Return an interface's name; BridgeNotReady while the kernel does not know it."""
        if isinstance(interface, Named):
            if self._kernel.link(interface.name) is None:
                raise BridgeNotReady(f"Interface {interface.name!r} does not exist yet.")
            return interface.name
        for link in self._kernel.links():
            if link.kind == "bridge" and self._knows(link.index, interface.member):
                return link.name
        raise BridgeNotReady(f"No bridge knows the MAC {interface.member} yet.")

    async def ensure_route(self, prefix: str, interface: Interface) -> str:
        """Make the route stand and return its interface; raises the typed errors."""
        name = self.resolve(interface)
        try:
            await self._runtime.inject_route(prefix, name)
        except RouteFailed as error:
            raise RouteFailed(f"{prefix} via {name}: {error}", retryable=error.retryable) from error
        return name

    async def ensure_route_with_retry(self, prefix: str, interface: Interface) -> str:
        """Like ensure_route, again where that makes sense; raises the last attempt's error."""
        attempts = ATTEMPTS_KNOWN if isinstance(interface, Named) else ATTEMPTS_DISCOVERED
        for attempt in range(1, attempts + 1):
            try:
                return await self.ensure_route(prefix, interface)
            except ExecutorError as error:
                if not error.retryable or attempt == attempts:
                    raise
                log.info("route_retried", prefix=prefix, attempt=attempt, of=attempts, error=str(error))
                await self._sleep(DELAY)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def remove_route(self, prefix: str) -> bool:
        """Remove a route; false where an unreachable executor leaves it to the next reconcile."""
        try:
            await self._runtime.remove_route(prefix)
        except RuntimeUnavailable as error:
            log.info("route_removal_postponed", prefix=prefix, error=str(error))
            return False
        return True

    def _knows(self, bridge: int, mac: str) -> bool:
        return any(entry.mac == mac.lower() for entry in self._kernel.bridge_fdb(bridge))
