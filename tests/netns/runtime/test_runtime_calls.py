"""Calls that nobody plans for: very many at once, bytes that are no message, and far too many bytes."""

from __future__ import annotations

from collections import Counter

import grpc
import pytest

from quilt_proto import node_pb2, runtime_pb2, runtime_pb2_grpc
from tests.support.runtime_node import TIMEOUT, Node, held, make_vxlan, show

METHODS = ("ConfigureNodeSubnet", "InjectRoute", "RemoveRoute")
NO_UTF8 = b"\x0a\x02\xff\xfe"  # field 1, two bytes


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def answer(node: Node, path: str, request: bytes) -> runtime_pb2.InjectRouteResponse | grpc.RpcError:
    """The answer, or the error of gRPC's own that there must not be; all three answers have one form."""
    call = node.shared_channel.unary_unary(
        path, response_deserializer=runtime_pb2.InjectRouteResponse.FromString
    )
    try:
        return call(request, timeout=TIMEOUT)
    except grpc.RpcError as error:
        return error


def outcome(call: grpc.Future[runtime_pb2.InjectRouteResponse]) -> str:
    try:
        return call.result(TIMEOUT).error or "success"
    except grpc.RpcError as error:
        return f"{error.code()} {error.details()} {error.debug_error_string()}"


@pytest.mark.parametrize("channels", [1, 4])
def test_1200_calls_at_once_are_all_answered(ready_node: Node, channels: int) -> None:
    """s11: 1,200 calls at once on fresh channels are queued and answered, none by an error of gRPC."""
    make_vxlan(ready_node.netns)
    stubs = [runtime_pb2_grpc.QuiltRuntimeStub(ready_node.channel()) for _ in range(channels)]
    requests = [
        runtime_pb2.InjectRouteRequest(destination=f"10.43.{n % 250}.0/24", via_interface="vxlan100")
        for n in range(1200)
    ]
    calls = [stubs[n % channels].InjectRoute.future(request) for n, request in enumerate(requests)]

    outcomes = Counter(outcome(call) for call in calls)
    assert outcomes == {"success": 1200}
    assert len(show(ready_node.netns, "route", "show", "proto", "82")) == 250


@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_are_no_text_are_refused_in_the_contracts_form(ready_node: Node, method: str) -> None:
    """s11: A request whose text is no UTF-8 is answered with success=false and the reason."""
    response = answer(ready_node, f"/quilt.QuiltRuntime/{method}", NO_UTF8)
    assert isinstance(response, runtime_pb2.InjectRouteResponse), response
    assert not response.success
    assert response.error == f"The request is not a quilt.{method}Request in protobuf, whose texts are UTF-8"


@pytest.mark.parametrize("method", METHODS)
def test_17_mib_are_refused_in_the_contracts_form(ready_node: Node, method: str) -> None:
    """s11: A request of 17 MiB is answered with success=false and how much is read."""
    size = 17 << 20
    request = b"\x0a" + varint(size) + b"1" * size
    response = answer(ready_node, f"/quilt.QuiltRuntime/{method}", request)
    assert isinstance(response, runtime_pb2.InjectRouteResponse), response
    assert not response.success
    assert response.error == f"The request is {len(request)} bytes long, at most {16 << 20} are read"


def test_our_own_services_say_what_is_wrong_too(ready_node: Node) -> None:
    """s11: Unreadable requests to the agent's services are answered, and change nothing."""
    response = answer(ready_node, "/quilt.Ipam/AllocateIp", NO_UTF8)
    assert isinstance(response, runtime_pb2.InjectRouteResponse), response
    assert "not a quilt.AllocateIpRequest in protobuf" in response.error
    refused = answer(ready_node, "/quilt.RouteTable/ApplyRoutes", b"\xff")
    assert isinstance(refused, grpc.RpcError)
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert held(ready_node) == {}
    assert ready_node.ipam.AllocateIp(node_pb2.AllocateIpRequest(container_id="c1", interface="eth0")).success
