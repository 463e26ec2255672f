"""The control socket: JSON, one object a line, each answered by one line; notifications come in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from quilt_pim.core.errors import ControlError
from quilt_pim.core.request_line import MAX_LINE, read, request_id
from quilt_pim.core.requests import Request
from quilt_pim.counters import Counters
from quilt_pim.subscriptions import Broadcast, Session
from quilt_pim.unix import UnixServer, part

log = structlog.get_logger()

# Bytes that wait for a client in this process before it counts as slow; the kernel holds some more.
_WRITE_BUFFER = 16384

Answer = Callable[[Request, Session], Awaitable[dict[str, Any]]]


class ControlServer:
    """Reads requests, lets `answer` do them in order, and writes replies; errors end no connection."""

    def __init__(
        self, path: str, answer: Answer, broadcast: Broadcast, counters: Counters, gid: int | None
    ) -> None:
        self._answer = answer
        self._broadcast = broadcast
        self._counters = counters
        self._server = UnixServer(path, self._serve, _refusal, counters, limit=MAX_LINE, gid=gid)

    async def start(self) -> None:
        """Listen; OSError says which path cannot be had."""
        await self._server.start()
        log.info("control_serving", socket=str(self._server.path))

    async def stop(self) -> None:
        """Stop listening and end all connections."""
        await self._server.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=_WRITE_BUFFER)

        async def send(document: dict[str, Any]) -> None:
            writer.write(_line(document))
            await writer.drain()

        session = Session(self._broadcast, send)
        try:
            while line := await self._next(reader, writer):
                await send(await self._reply(line, session))
                session.deliver()
        finally:
            await session.close()

    async def _next(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """The next line that is not empty; b"" at the end, also after a line that is too long."""
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as end:
                return end.partial if end.partial.strip() else b""
            except asyncio.LimitOverrunError:
                # What follows cannot be told from the rest of this line, so the connection ends here.
                self._counters.add("request_errors")
                await part(reader, writer, _refusal(f"a request has at most {MAX_LINE} bytes"))
                return b""
            if line.strip():
                return line

    async def _reply(self, line: bytes, session: Session) -> dict[str, Any]:
        given = None
        self._counters.add("requests")
        try:
            document, given = request_id(line)
            reply = {"success": True, **await self._answer(read(document), session)}
        except ControlError as error:
            self._counters.add("request_errors")
            reply = {"success": False, "error": str(error)}
        except Exception:
            log.exception("control_request_failed")
            self._counters.add("request_errors")
            reply = {"success": False, "error": "This failed inside the agent; its log has the reason"}
        return reply if given is None else {**reply, "id": given}


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _refusal(message: str) -> bytes:
    return _line({"success": False, "error": message})
