"""Serves the RPF query protocol from the mesh's routes, so that a multicast router can ask the agent."""

from __future__ import annotations

import asyncio

from quilt_pim.core import rpf_wire
from quilt_pim.core.errors import ControlError
from quilt_pim.core.rpf import Upstream
from quilt_pim.counters import Counters
from quilt_pim.unix import UnixServer, lines


class RpfServer(UnixServer):
    """Answers queries, as many as a connection sends; one that ends with the stream is its last."""

    def __init__(self, path: str, upstream: Upstream, counters: Counters, gid: int | None) -> None:
        super().__init__(
            path, self._converse, rpf_wire.refusal, counters, limit=rpf_wire.MAX_MESSAGE, gid=gid
        )
        self._upstream = upstream

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in lines(reader, writer, _too_long):
            writer.write(self._answer(line))
            await writer.drain()

    def _answer(self, line: bytes) -> bytes:
        self._counters.add("rpf_served")
        try:
            source = rpf_wire.parse_query(line)
        except ControlError as error:
            return rpf_wire.refusal(str(error))
        return rpf_wire.answer(source, self._upstream(source))


def _too_long() -> bytes:
    return rpf_wire.refusal(f"a query has at most {rpf_wire.MAX_MESSAGE} bytes")
