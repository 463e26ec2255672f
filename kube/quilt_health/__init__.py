"""Probes and metrics of a node's processes over HTTP: small enough that they carry no web framework."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

# Seconds that a client may take for its request.
_PATIENCE = 5.0
# Bytes of a request's head.
_LONGEST = 8192
HANDOVER = 10.0
"""Seconds that a predecessor may take to let go of the port: a pod deleted by force is replaced while it
dies."""
_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_JSON = "application/json"


@dataclass
class HealthServer:
    """Answers GET of /healthz, /readyz and /metrics; `alive` and `ready` return what speaks against it.

    `documents` are further ones, JSON by path.
    """

    alive: Callable[[], Sequence[str]]
    ready: Callable[[], Sequence[str]]
    metrics: Callable[[], bytes]
    documents: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    _server: asyncio.Server | None = field(default=None, init=False)

    async def start(self, address: str, handover: float = HANDOVER) -> int:
        """Listen at `host:port` and return the port; OSError where it stays taken for `handover` s."""
        host, _, port = address.rpartition(":")
        host, number = host.strip("[]"), int(port)
        deadline = time.monotonic() + handover
        while self._server is None:
            try:
                self._server = await asyncio.start_server(self._serve, host or None, number, limit=_LONGEST)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                    raise OSError(
                        f"cannot listen on {address} for probes and metrics: {error}; set --health-addr"
                    ) from error
                await asyncio.sleep(0.1)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                request = await reader.readuntil(b"\r\n\r\n")
            method, _, rest = request.partition(b" ")
            path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
            status, kind, body = self._answer(path) if method == b"GET" else (405, _TEXT, b"only GET\n")
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
            async with asyncio.timeout(_PATIENCE):
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # A client that does not finish its request gets no answer.
        finally:
            writer.close()

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path == "/metrics":
            return 200, _METRICS, self.metrics()
        if path in self.documents:
            return 200, _JSON, self.documents[path]()
        if path in ("/healthz", "/readyz"):
            against = self.alive() if path == "/healthz" else self.ready()
            return (503 if against else 200), _TEXT, ("\n".join(against or ("ok",)) + "\n").encode()
        return 404, _TEXT, b"/healthz, /readyz or /metrics\n"
