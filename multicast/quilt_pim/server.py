"""The control socket: JSON, one object a line, each answered by one line; notifications come in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from quilt_pim.core.errors import ControlError
from quilt_pim.core.requests import MAX_LINE, Request, read, request_id
from quilt_pim.counters import Counters
from quilt_pim.subscriptions import Broadcast, Session
from quilt_pim.unix import UnixServer, lines

log = structlog.get_logger()

# Bytes that wait for a client in this process before it counts as slow; the kernel holds some more.
_WRITE_BUFFER = 16384

Answer = Callable[[Request, Session], Awaitable[dict[str, Any]]]


class ControlServer(UnixServer):
    """Reads requests, lets `answer` do them in order, and writes replies; errors end no connection."""

    def __init__(
        self, path: str, answer: Answer, broadcast: Broadcast, counters: Counters, gid: int | None
    ) -> None:
        super().__init__(path, self._converse, _refusal, counters, limit=MAX_LINE, gid=gid)
        self._answer = answer
        self._broadcast = broadcast

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=_WRITE_BUFFER)

        async def send(document: dict[str, Any]) -> None:
            writer.write(_line(document))
            await writer.drain()

        session = Session(self._broadcast, send)
        try:
            async for line in lines(reader, writer, self._too_long):
                if line.strip():
                    await send(await self._reply(line, session))
                    session.deliver()
        finally:
            await session.close()

    def _too_long(self) -> bytes:
        self._counters.add("request_errors")
        return _refusal(f"a request has at most {MAX_LINE} bytes")

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
