"""/healthz, /readyz and /metrics over plain HTTP/1.1, for probes and Prometheus on the node itself.

Healthy means that all that serves is there, else the kubelet restarts us. Ready means that a pod can start
here: the node has a subnet and its network is in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from quilt_runtime.app import Runtime

log = structlog.get_logger()

TIMEOUT_S = 5.0
MAX_REQUEST = 8192
TEXT = "text/plain; charset=utf-8"


class StatusServer:
    """Answers GET; anything else is refused."""

    def __init__(self, runtime: Runtime, wrong: Callable[[], list[str]]) -> None:
        """`wrong` returns what of the runtime has ended that should serve."""
        self._runtime = runtime
        self._wrong = wrong
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen; raises OSError where the port is taken."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_REQUEST)
        log.info("status_serving", address=f"{host}:{port}")

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._respond(head))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _respond(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode(errors="replace")
        if method != b"GET":
            return response(405, TEXT, b"only GET\n")
        if path == "/healthz":
            return verdict(self._wrong())
        if path == "/readyz":
            return verdict(not_ready(self._runtime))
        if path == "/metrics":
            return response(200, "text/plain; version=0.0.4; charset=utf-8", self._runtime.metrics.text())
        return response(404, TEXT, b"try /healthz, /readyz or /metrics\n")


def not_ready(runtime: Runtime) -> list[str]:
    """Return why no pod can start here, empty when one can."""
    problems = list(runtime.network.problems.values())
    return problems if runtime.addresses.subnet else ["this node has no pod subnet yet", *problems]


def verdict(wrong: Sequence[str]) -> bytes:
    """Return the response of a probe: what is wrong, or that nothing is."""
    return response(503 if wrong else 200, TEXT, ("; ".join(wrong) or "ok").encode() + b"\n")


def response(status: int, kind: str, body: bytes) -> bytes:
    """Return a whole HTTP response that closes the connection."""
    reason = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}[status]
    head = (
        f"HTTP/1.1 {status} {reason}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + body
