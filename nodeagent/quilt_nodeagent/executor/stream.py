"""One call of the runtime that stays open: a request is half as long under way as by a call of its own."""

from __future__ import annotations

import asyncio

import grpc.aio

from quilt_proto.node_pb2 import ApplyRoutesRequest, ApplyRoutesResponse

_Open = grpc.aio.StreamStreamMultiCallable[ApplyRoutesRequest, ApplyRoutesResponse]
_Call = grpc.aio.StreamStreamCall[ApplyRoutesRequest, ApplyRoutesResponse]


class RouteStream:
    """Requests of RouteTable.StreamRoutes, one at a time; opened when needed, anew after whatever failed."""

    def __init__(self, method: _Open) -> None:
        self._method = method
        self._call: _Call | None = None
        self._turn = asyncio.Lock()

    async def ask(self, request: ApplyRoutesRequest, seconds: float) -> ApplyRoutesResponse:
        """Return the answer to a request; raises AioRpcError, EOFError, and TimeoutError after `seconds`."""
        async with self._turn, asyncio.timeout(seconds):
            call = self._call
            if call is None or call.done():
                call = self._method(None)
            # Only after its answer: what is left of a failed request must never answer the next one.
            self._call = None
            try:
                await call.write(request)
                answer = await call.read()
            except BaseException:
                call.cancel()
                raise
            if not isinstance(answer, ApplyRoutesResponse):
                raise EOFError("the stream of routes was ended")
            self._call = call
            return answer
