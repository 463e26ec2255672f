"""/healthz, /readyz and /metrics over plain HTTP/1.1, for probes and Prometheus on the node itself.

Healthy means that all that serves is there, else the kubelet restarts us. Ready means that a pod can start
here: the node has a subnet and its network is in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus

from quilt_log import log
from quilt_runtime.app import Runtime
from quilt_runtime.core.errors import RequestError

TIMEOUT_S = 5.0
MAX_REQUEST = 8192
TEXT = "text/plain; charset=utf-8"


async def start(runtime: Runtime, wrong: Callable[[], list[str]], address: tuple[str, int]) -> asyncio.Server:
    """Answer GET, and refuse anything else; `wrong` returns what of the runtime has ended that should serve.

    Raises RequestError where the port is taken.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_respond(runtime, wrong, head))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    host, port = address
    try:
        server = await asyncio.start_server(serve, host, port, limit=MAX_REQUEST)
    except OSError as error:
        raise RequestError(f"Cannot listen on {host}:{port} (--health-addr): {error.strerror}") from error
    log.info("status_serving", address=f"{host}:{port}")
    return server


def _respond(runtime: Runtime, wrong: Callable[[], list[str]], head: bytes) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0].decode(errors="replace")
    if method != b"GET":
        return response(405, TEXT, b"only GET\n")
    if path == "/healthz":
        return verdict(wrong())
    if path == "/readyz":
        return verdict(not_ready(runtime))
    if path == "/metrics":
        return response(200, "text/plain; version=0.0.4; charset=utf-8", runtime.metrics.text())
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
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
