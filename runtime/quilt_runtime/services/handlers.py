"""gRPC handlers that answer every request, one that cannot be read too, in the form of the contract.

gRPC's generated code would answer bytes that are no message by an error of its own, which callers of the
contract are promised never to see.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

log = structlog.get_logger()

MAX_REQUEST = 16 << 20
RECEIVED_AT_MOST = 64 << 20
"""Bytes that gRPC takes in so that we can say what is wrong with them."""

Behaviour = Callable[[Any, Any], Awaitable[Message]]


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
