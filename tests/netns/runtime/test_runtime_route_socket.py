"""The packet socket of the real runtime: a few routes, and thousands at the same time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from quilt_proto import node_pb2
from quilt_runtime.services.server import DRAIN_S

from .conftest import TIMEOUT, Node, make_vxlan
from .test_runtime_bulk_answers import group

Request = node_pb2.ApplyRoutesRequest
Response = node_pb2.ApplyRoutesResponse


@contextmanager
def connected(node: Node) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(str(node.socket_dir / "routes.sock"))
        yield sock


def send(sock: socket.socket, number: int, request: Request) -> None:
    sock.send(number.to_bytes(4, "little") + request.SerializeToString())


def receive(sock: socket.socket) -> tuple[int, Response]:
    data = sock.recv(1 << 18)
    return int.from_bytes(data[:4], "little"), Response.FromString(data[4:])


def held(node: Node) -> set[str]:
    return {route.destination for route in node.routes.ListRoutes(node_pb2.ListRoutesRequest()).routes}


def test_each_packet_is_answered_as_a_call_would_be(ready_node: Node) -> None:
    make_vxlan(ready_node.netns)
    with connected(ready_node) as sock:
        send(sock, 7, Request(groups=[group(2, 3)]))
        send(sock, 8, Request(groups=[group(4, interface="absent0"), group(5)], failures_only=True))
        send(sock, 9, Request(remove=["10.42.2.0/24"]))
        answers = dict(receive(sock) for _ in range(3))
    assert [result.success for result in answers[7].results] == [True, True]
    assert [result.error for result in answers[8].results] == ["Interface 'absent0' not found"]
    assert [result.success for result in answers[9].results] == [True]
    assert held(ready_node) == {"10.42.3.0/24", "10.42.5.0/24"}


def test_packets_are_answered_while_a_call_works_on_thousands(ready_node: Node) -> None:
    make_vxlan(ready_node.netns)
    many = Request(
        groups=[
            node_pb2.RouteGroup(
                interface="vxlan100",
                destinations=[f"10.{100 + n // 250}.{n % 250}.0/24" for n in range(10_000)],
                gateways=[f"10.{100 + n // 250}.{n % 250}.0" for n in range(10_000)],
            )
        ],
        failures_only=True,
    )
    bulk = ready_node.routes.ApplyRoutes.future(many)
    with connected(ready_node) as sock:
        numbers = range(2, 42)
        for number in numbers:
            send(sock, number, Request(groups=[group(number)]))
        answers = dict(receive(sock) for _ in numbers)
    assert all(answers[number].results[0].success for number in numbers)
    assert not bulk.result().results
    assert len(held(ready_node)) == 10_000 + len(numbers)


def test_a_connection_does_not_hold_up_the_end_of_the_runtime(ready_node: Node) -> None:
    make_vxlan(ready_node.netns)
    with connected(ready_node) as sock:
        send(sock, 1, Request(groups=[group(2)]))
        assert receive(sock)[1].results[0].success
        for channel in ready_node.channels:
            channel.close()  # an idle client of gRPC may take seconds to see that the server goes
        assert ready_node.stop() == 0
        begun, ended = (ready_node.events(name)[-1]["timestamp"] for name in ("stopping", "stopped"))
        took = datetime.fromisoformat(ended) - datetime.fromisoformat(begun)
        assert took < timedelta(seconds=DRAIN_S), "the time that calls have to end was waited out"
        assert sock.recv(100) == b""
    assert not (ready_node.socket_dir / "routes.sock").exists()
