"""A stream of requests: each is answered in its turn, as a call of its own would be."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator

import grpc
import pytest

from quilt_proto import node_pb2

from .conftest import Node, make_vxlan
from .test_runtime_bulk_answers import group

Request = node_pb2.ApplyRoutesRequest


class Asking(Iterator[Request]):
    """Requests of a stream that stays open until `close`."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()

    def put(self, request: Request) -> None:
        self._queue.put(request)

    def close(self) -> None:
        self._queue.put(None)

    def __next__(self) -> Request:
        request = self._queue.get()
        if request is None:
            raise StopIteration
        return request


def test_requests_of_a_stream_are_answered_in_their_turn(ready_node: Node) -> None:
    make_vxlan(ready_node.netns)
    asking = Asking()
    answers = ready_node.routes.StreamRoutes(asking)
    many = list(range(2, 202))
    asking.put(Request(groups=[group(*many)]))
    asking.put(Request(groups=[group(202, interface="absent0")]))
    asking.put(Request(remove=[f"10.42.{n}.0/24" for n in many[1:]]))
    assert [result.success for result in next(answers).results] == [True] * len(many)
    assert [result.error for result in next(answers).results] == ["Interface 'absent0' not found"]
    assert len(next(answers).results) == len(many) - 1
    held = ready_node.routes.ListRoutes(node_pb2.ListRoutesRequest()).routes
    assert [route.destination for route in held] == ["10.42.2.0/24"]
    asking.close()
    with pytest.raises(StopIteration):
        next(answers)


def test_an_open_stream_does_not_hold_up_the_end_of_the_runtime(ready_node: Node) -> None:
    make_vxlan(ready_node.netns)
    asking = Asking()
    answers = ready_node.routes.StreamRoutes(asking)
    asking.put(Request(groups=[group(2)]))
    assert next(answers).results[0].success
    begun = time.monotonic()
    assert ready_node.stop() == 0
    assert time.monotonic() - begun < 4, "the time that calls have to end was waited out"
    with pytest.raises((StopIteration, grpc.RpcError)):
        next(answers)
    asking.close()
