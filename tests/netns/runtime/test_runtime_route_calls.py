"""A few routes of the real runtime, while thousands are worked on."""

from __future__ import annotations

from quilt_proto import node_pb2
from tests.support.runtime_node import Node, make_vxlan, route_group

Request = node_pb2.ApplyRoutesRequest


def held(node: Node) -> set[str]:
    return {route.destination for route in node.routes.ListRoutes(node_pb2.ListRoutesRequest()).routes}


def test_a_few_are_answered_while_a_call_works_on_thousands(ready_node: Node) -> None:
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
    numbers = range(2, 42)
    few = {
        number: ready_node.routes.ApplyRoutes.future(Request(groups=[route_group(number)]))
        for number in numbers
    }
    assert all(few[number].result().results[0].success for number in numbers)
    assert not bulk.result().results
    assert len(held(ready_node)) == 10_000 + len(numbers)
