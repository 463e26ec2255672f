"""Serves the RPF query protocol from the mesh's routes, so that a multicast router can ask the agent."""

from __future__ import annotations

import asyncio

import structlog

from quilt_pim.core import rpf_wire
from quilt_pim.core.errors import ControlError
from quilt_pim.core.rpf import Upstream
from quilt_pim.counters import Counters
from quilt_pim.unix import UnixServer, part

log = structlog.get_logger()


class RpfServer:
    """Answers queries, as many as a connection sends; one that ends with the stream is its last."""

    def __init__(self, path: str, upstream: Upstream, counters: Counters, gid: int | None) -> None:
        self._upstream = upstream
        self._counters = counters
        self._server = UnixServer(
            path, self._serve, rpf_wire.refusal, counters, limit=rpf_wire.MAX_MESSAGE, gid=gid
        )

    async def start(self) -> None:
        """Listen; OSError says which path cannot be had."""
        await self._server.start()
        log.info("rpf_serving", socket=str(self._server.path))

    async def stop(self) -> None:
        """Stop listening and end all connections."""
        await self._server.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as end:
                if end.partial.strip():
                    writer.write(self._answer(end.partial))
                return
            except asyncio.LimitOverrunError:
                refusal = rpf_wire.refusal(f"a query has at most {rpf_wire.MAX_MESSAGE} bytes")
                await part(reader, writer, refusal)
                return
            writer.write(self._answer(line))
            await writer.drain()

    def _answer(self, line: bytes) -> bytes:
        self._counters.add("rpf_served")
        try:
            source = rpf_wire.parse_query(line)
        except ControlError as error:
            return rpf_wire.refusal(str(error))
        return rpf_wire.answer(source, self._upstream(source))
