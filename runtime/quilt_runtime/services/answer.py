"""How every service answers: work runs in a thread, an error becomes text in the response, never a crash.

Requests that cannot be read are answered in the form of the contract too: gRPC's generated code would answer
bytes that are no message by an error of its own, which callers of the contract are promised never to see.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from quilt_log import log
from quilt_netlink import NetlinkError
from quilt_runtime.app import Runtime
from quilt_runtime.core.errors import RequestError
from quilt_runtime.state import StateError

MAX_REQUEST = 16 << 20
RECEIVED_AT_MOST = 64 << 20
"""Bytes that gRPC accepts so that we can report what is wrong with them."""


def at_once(runtime: Runtime, request: object) -> bool:
    """Every request is short."""
    return True


@dataclass(frozen=True, slots=True)
class Call:
    """What a method does: `work` returns the response, None where that is success and no more.

    It runs off the event loop, or at once where it is `short`: needs less than the way to a thread and back
    (0.2 ms), so a few system calls, and no lock that is held for long by others. What is not short waits for
    its turn: threads that work on thousands at the same time are in each other's way more than they help.
    `failed` makes the response of an error's text where that is more than the field `error`.
    """

    work: Callable[[Runtime, Any], Message | None]
    short: Callable[[Runtime, Any], bool] = lambda runtime, request: False
    failed: Callable[[Any, str], Message] | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """What a method does whose response is a stream; what it raises ends the stream with its text."""

    work: Callable[[Runtime, Any], AsyncIterator[Message]]


def generic_handler(
    service: ServiceDescriptor, calls: Mapping[str, Call | Stream], runtime: Runtime
) -> grpc.GenericRpcHandler[Any, Any]:
    """Return what a server needs to serve a service by the calls that have its methods' names."""
    handlers = {method.name: _handler(method, calls[method.name], runtime) for method in service.methods}
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _handler(
    method: MethodDescriptor, call: Call | Stream, runtime: Runtime
) -> grpc.RpcMethodHandler[Any, Any]:
    if isinstance(call, Stream):
        return _Streamed(method, runtime).handler(call)
    return _Answered(method, call, runtime).handler()


def answers(method: MethodDescriptor, call: Call, runtime: Runtime) -> Callable[[bytes], bytes]:
    """Return what answers a method's request as a call would be answered, in the thread that asks.

    It raises ValueError where a response cannot tell what is wrong.
    """
    return _Answered(method, call, runtime).packet


class _Method:
    def __init__(self, method: MethodDescriptor, runtime: Runtime) -> None:
        self._method = method
        self._request_class = GetMessageClass(method.input_type)
        self._response_class = GetMessageClass(method.output_type)
        self._runtime = runtime

    def _read(self, data: bytes) -> Message | str:
        """Return the request, or what is wrong with it, which is the answer."""
        if len(data) > MAX_REQUEST:
            return f"The request is {len(data)} bytes long, at most {MAX_REQUEST} are read"
        try:
            return self._request_class.FromString(data)
        except DecodeError:
            what = f"not a {self._method.input_type.full_name} in protobuf, whose texts are UTF-8"
            return f"The request is {what}"

    async def _refuse(self, context: Any, code: grpc.StatusCode, text: str) -> Message:
        """Answer with the text: as a status where the response has no field for it."""
        if "error" not in self._method.output_type.fields_by_name:
            await context.abort(code, text)
        return self._response_class(error=text)


class _Streamed(_Method):
    def handler(self, stream: Stream) -> grpc.RpcMethodHandler[Any, Any]:
        async def serve(request: Message | str, context: Any) -> AsyncIterator[Message]:
            if isinstance(request, str):
                await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, request)
                return
            try:
                async for message in stream.work(self._runtime, request):
                    yield message
            except RequestError as error:
                log.info("rpc_refused", method=self._method.name, reason=str(error))
                await self._refuse(context, grpc.StatusCode.UNAVAILABLE, str(error))

        return grpc.unary_stream_rpc_method_handler(
            serve, request_deserializer=self._read, response_serializer=self._response_class.SerializeToString
        )


class _Answered(_Method):
    def __init__(self, method: MethodDescriptor, call: Call, runtime: Runtime) -> None:
        super().__init__(method, runtime)
        self._call = call
        self._turn = asyncio.Lock()

    def handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        return grpc.unary_unary_rpc_method_handler(
            self._serve,
            request_deserializer=self._read,
            response_serializer=self._response_class.SerializeToString,
        )

    async def _serve(self, request: Message | str, context: Any) -> Message:
        begun = time.perf_counter()
        if isinstance(request, str):
            log.info("rpc_unreadable", method=self._method.full_name, reason=request)
            return await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, request)
        if self._call.short(self._runtime, request):
            done = self._attempt(request, begun)
        else:
            async with self._turn:
                done = await asyncio.to_thread(self._attempt, request, begun)
        response = self._response(request, done)
        if isinstance(response, str):
            return await self._refuse(context, grpc.StatusCode.UNAVAILABLE, response)
        return response

    def packet(self, data: bytes) -> bytes:
        """Answer a request in this thread; raises ValueError where it cannot be, which no response says."""
        request = self._read(data)
        if isinstance(request, str):
            raise ValueError(request)
        response = self._response(request, self._attempt(request, time.perf_counter()))
        if isinstance(response, str):
            raise ValueError(response)
        return response.SerializeToString()

    def _response(self, request: Message, done: Message | str | None) -> Message | str:
        """Return what answers; an error's text where the response is to be made of that alone."""
        if not isinstance(done, str):
            return self._response_class(success=True) if done is None else done
        return done if self._call.failed is None else self._call.failed(request, done)

    def _attempt(self, request: Message, begun: float) -> Message | str | None:
        """Do the work, or return the text of what went wrong; log and count what fails."""
        method = self._method.name
        try:
            return self._call.work(self._runtime, request)
        except (RequestError, NetlinkError, StateError) as error:
            log.info("rpc_refused", method=method, reason=str(error))
            text = str(error)
        except Exception:
            log.exception("rpc_failed", method=method)
            text = f"{method} failed inside the runtime; its log has the reason"
        finally:
            self._runtime.metrics.rpcs.labels(method=method).observe(time.perf_counter() - begun)
        self._runtime.metrics.rpc_failures.labels(method=method).inc()
        return text
