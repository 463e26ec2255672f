"""How every service answers: work runs in a thread, an error becomes text in the response, never a crash.

Requests that cannot be read are answered in the form of the contract too: gRPC's generated code would answer
bytes that are no message by an error of its own, which callers of the contract are promised never to see.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from quilt_netlink import NetlinkError
from quilt_runtime.core.errors import RequestError
from quilt_runtime.metrics import Metrics
from quilt_runtime.state import StateError

log = structlog.get_logger()
T = TypeVar("T")
Behaviour = Callable[[Any, Any], Awaitable[Message]]

MAX_REQUEST = 16 << 20
RECEIVED_AT_MOST = 64 << 20
"""Bytes that gRPC accepts so that we can report what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A value, or the text of what went wrong."""

    value: T | None
    error: str = ""

    @property
    def success(self) -> bool:
        """Whether there is a value."""
        return not self.error


async def answer(metrics: Metrics, method: str, work: Callable[[], T], *, short: bool = False) -> Answer[T]:
    """Do `work` off the event loop, or at once where it is `short`; log and count what fails.

    Short is what needs less than the way to a thread and back (0.2 ms): a few system calls, and no lock that
    is held for long by others.
    """
    if short:
        return answer_now(metrics, method, work)
    return await asyncio.to_thread(answer_now, metrics, method, work, time.perf_counter())


def answer_now(metrics: Metrics, method: str, work: Callable[[], T], begun: float | None = None) -> Answer[T]:
    """Do `work` here, asked for at `begun` (perf_counter; None: now); log and count what fails."""
    begun = time.perf_counter() if begun is None else begun
    try:
        return Answer(work())
    except (RequestError, NetlinkError, StateError) as error:
        log.info("rpc_refused", method=method, reason=str(error))
        text = str(error)
    except Exception:
        log.exception("rpc_failed", method=method)
        text = f"{method} failed inside the runtime; its log has the reason"
    finally:
        metrics.rpcs.labels(method=method).observe(time.perf_counter() - begun)
    metrics.rpc_failures.labels(method=method).inc()
    return Answer(None, text)


class _UnreadableError(ValueError):
    """Handed on in place of a request; its text is the answer."""


def generic_handler(service: ServiceDescriptor, servicer: object) -> grpc.GenericRpcHandler[Any, Any]:
    """Return what a server needs to serve a service by the methods of `servicer` that have its names."""
    handlers = {method.name: _handler(method, getattr(servicer, method.name)) for method in service.methods}
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _handler(method: MethodDescriptor, behaviour: Behaviour) -> grpc.RpcMethodHandler[Any, Any]:
    request_class, response_class = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    has_error = "error" in method.output_type.fields_by_name

    def read(data: bytes) -> Message | _UnreadableError:
        if len(data) > MAX_REQUEST:
            return _UnreadableError(f"The request is {len(data)} bytes long, at most {MAX_REQUEST} are read")
        try:
            return request_class.FromString(data)
        except DecodeError:
            what = f"not a {method.input_type.full_name} in protobuf, whose texts are UTF-8"
            return _UnreadableError(f"The request is {what}")

    async def serve(request: Message | _UnreadableError, context: Any) -> Message:
        if not isinstance(request, _UnreadableError):
            return await behaviour(request, context)
        log.info("rpc_unreadable", method=method.full_name, reason=str(request))
        if not has_error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(request))
        return response_class(error=str(request))

    return grpc.unary_unary_rpc_method_handler(
        serve, request_deserializer=read, response_serializer=response_class.SerializeToString
    )
