"""The two sockets of a control plane, from their first moment to their last.

The control socket: JSON, one object a line, each answered by one line; notifications come in between. The RPF
socket serves the RPF query protocol from the mesh's routes, so that a multicast router can ask the agent.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from quilt_log import log
from quilt_pim.core import rpf_wire
from quilt_pim.core.requests import MAX_LINE, read, request_id
from quilt_pim.core.validate import ControlError
from quilt_pim.handlers import Handlers
from quilt_pim.plane import ControlPlane
from quilt_pim.subscriptions import Session
from quilt_pim.unix import UnixServer, lines

# Bytes that wait for a client in this process before it counts as slow; the kernel holds some more.
_WRITE_BUFFER = 16384


async def serve(plane: ControlPlane) -> None:
    """Serve until cancelled; OSError when a socket cannot be had."""
    servers: list[UnixServer] = [ControlServer(plane)]
    if plane.config.rpf_sock:
        servers.append(RpfServer(plane))
    now = time.monotonic()
    for name in plane.config.pim_interfaces:
        plane.speakers.want(name, now)
    try:
        for server in servers:
            await server.start()
            log.info("control_serving", socket=str(server.path))
        plane.serving.set()
        await plane.run()
    finally:
        plane.serving.clear()
        plane.speakers.close()
        for server in servers:
            await server.stop()


class ControlServer(UnixServer):
    """Reads requests, has them answered in order, and writes replies; errors end no connection."""

    def __init__(self, plane: ControlPlane) -> None:
        path, gid = plane.config.control_sock, plane.config.control_gid
        super().__init__(path, self._converse, _refusal, plane.counters, limit=MAX_LINE, gid=gid)
        self._answer = Handlers(plane).answer
        self._broadcast = plane.broadcast

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
        self._counters["request_errors"] += 1
        return _refusal(f"a request has at most {MAX_LINE} bytes")

    async def _reply(self, line: bytes, session: Session) -> dict[str, Any]:
        given = None
        self._counters["requests"] += 1
        try:
            document, given = request_id(line)
            reply = {"success": True, **await self._answer(*read(document), session)}
        except ControlError as error:
            self._counters["request_errors"] += 1
            reply = {"success": False, "error": str(error)}
        except Exception:
            log.exception("control_request_failed")
            self._counters["request_errors"] += 1
            reply = {"success": False, "error": "This failed inside the agent; its log has the reason"}
        return reply if given is None else {**reply, "id": given}


class RpfServer(UnixServer):
    """Answers queries, as many as a connection sends; one that ends with the stream is its last."""

    def __init__(self, plane: ControlPlane) -> None:
        path, gid, limit = plane.config.rpf_sock, plane.config.control_gid, rpf_wire.MAX_MESSAGE
        super().__init__(path, self._converse, rpf_wire.refusal, plane.counters, limit=limit, gid=gid)
        self._plane = plane

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        too_long = rpf_wire.refusal(f"a query has at most {rpf_wire.MAX_MESSAGE} bytes")
        async for line in lines(reader, writer, lambda: too_long):
            self._counters["rpf_served"] += 1
            writer.write(rpf_wire.answer(line, self._plane.upstream))
            await writer.drain()


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _refusal(message: str) -> bytes:
    return _line({"success": False, "error": message})
