"""A bulk call that asks for failures alone is told of nothing else."""

from __future__ import annotations

from quilt_proto import node_pb2

from .conftest import Node, make_vxlan


def test_only_refused_items_are_answered(ready_node: Node) -> None:
    make_vxlan(ready_node.netns)
    good = [
        node_pb2.Route(destination=f"10.42.{n}.0/24", gateway=f"10.42.{n}.0", interface="vxlan100")
        for n in (2, 3)
    ]
    bad = node_pb2.Route(destination="10.42.4.0/24", gateway="10.42.4.0", interface="absent0")
    request = node_pb2.ApplyRoutesRequest(add=[good[0], bad, good[1]], failures_only=True)
    answer = ready_node.routes.ApplyRoutes(request)
    assert [(result.destination, result.success) for result in answer.results] == [("10.42.4.0/24", False)]
    held = ready_node.routes.ListRoutes(node_pb2.ListRoutesRequest()).routes
    assert {route.destination for route in held} == {"10.42.2.0/24", "10.42.3.0/24"}
    del request.add[1]
    assert not ready_node.routes.ApplyRoutes(request).results
