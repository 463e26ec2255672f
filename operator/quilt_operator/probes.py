"""/healthz, /readyz and /metrics.

Healthy: the event loop turns. Ready: a standby that waits, or a leader that sees (no watch is stale), may
write (its Lease was renewed) and works (the queue moves).
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


class ConfigurationError(Exception):
    """The address cannot be used; the text says which and why."""


Checks = Callable[[], list[str]]
"""Answers what is wrong, one sentence each; nothing when ready."""


class Probes:
    """The HTTP server for kubelet and Prometheus."""

    def __init__(self, address: str) -> None:
        """`address` is host:port, IPv6 hosts in brackets; ConfigurationError otherwise."""
        host, _, port = address.rpartition(":")
        if not port.isdecimal():
            raise ConfigurationError(f"--health-addr {address!r} is not host:port")
        self._host, self._port = host.strip("[]"), int(port)
        self.checks: Checks = lambda: ["starting"]
        self.measure: Callable[[], None] = lambda: None
        """Brings gauges up to date; called for each scrape."""
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        """Listen; ConfigurationError says which address cannot be used and why."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host or None, self._port).start()
        except OSError as error:
            where = f"--health-addr {self._host}:{self._port}"
            raise ConfigurationError(f"cannot listen on {where}: {error.strerror}") from error

    async def stop(self) -> None:
        """Close the server."""
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        wrong = self.checks()
        return web.Response(text="\n".join(wrong or ["ok"]) + "\n", status=503 if wrong else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        self.measure()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
