"""Bulk calls: groups are as single routes, and a call for failures alone returns nothing else."""

from __future__ import annotations

from quilt_proto import node_pb2
from tests.support.runtime_node import Node, make_vxlan, route_group


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


def test_groups_are_routes_like_any_other(ready_node: Node) -> None:
    make_vxlan(ready_node.netns)
    single = node_pb2.Route(destination="10.42.2.0/24", gateway="10.42.2.0", interface="vxlan100")
    groups = [route_group(3, 4), route_group(5, interface="absent0"), route_group(6, gateways=[])]
    request = node_pb2.ApplyRoutesRequest(add=[single], groups=groups, remove=["10.42.9.0/24"])
    answer = ready_node.routes.ApplyRoutes(request)
    assert [(result.destination, result.success, result.error) for result in answer.results] == [
        ("10.42.2.0/24", True, ""),
        ("10.42.3.0/24", True, ""),
        ("10.42.4.0/24", True, ""),
        ("10.42.5.0/24", False, "Interface 'absent0' not found"),
        ("10.42.6.0/24", True, ""),
        ("10.42.9.0/24", True, ""),
    ]
    held = ready_node.routes.ListRoutes(node_pb2.ListRoutesRequest()).routes
    assert {(route.destination, route.gateway) for route in held} == {
        ("10.42.2.0/24", "10.42.2.0"),
        ("10.42.3.0/24", "10.42.3.0"),
        ("10.42.4.0/24", "10.42.4.0"),
        ("10.42.6.0/24", ""),
    }


def test_what_is_wrong_in_a_group_spoils_nothing_else_in_it(ready_node: Node) -> None:
    make_vxlan(ready_node.netns)
    bad = route_group(2, 3, 4, gateways=["10.42.2.0", "10.42.03.0", "fd42::4"])
    v6 = node_pb2.RouteGroup(
        interface="vxlan100", destinations=["fd42:0:0:2::/64"], gateways=["fd42:0:0:2::"]
    )
    torn = route_group(5, 6, gateways=["10.42.5.0"])
    request = node_pb2.ApplyRoutesRequest(groups=[bad, v6, torn])
    results = ready_node.routes.ApplyRoutes(request).results
    assert [result.success for result in results] == [True, False, False, True, False, False]
    assert results[1].error.startswith("Invalid gateway '10.42.03.0'")
    assert results[2].error == "Gateway fd42::4 must be IPv4 like its destination"
    assert results[4].error == "A group of 2 destinations has 1 gateways; give one for each, or none"


def test_hundreds_at_once_are_as_one_by_one_also_where_one_is_anothers(ready_node: Node) -> None:
    make_vxlan(ready_node.netns)
    many = list(range(2, 202))
    request = node_pb2.ApplyRoutesRequest(groups=[route_group(*many)], failures_only=True)
    assert not ready_node.routes.ApplyRoutes(request).results
    assert not ready_node.routes.ApplyRoutes(request).results
    held = ready_node.routes.ListRoutes(node_pb2.ListRoutesRequest()).routes
    assert {(r.destination, r.gateway) for r in held} == {(f"10.42.{n}.0/24", f"10.42.{n}.0") for n in many}
    removal = node_pb2.ApplyRoutesRequest(remove=[f"10.42.{n}.0/24" for n in many], failures_only=True)
    assert not ready_node.routes.ApplyRoutes(removal).results
    ready_node.netns.run("ip", "route", "add", "10.42.7.0/24", "dev", "vxlan100")
    (refused,) = ready_node.routes.ApplyRoutes(request).results
    assert refused.destination == "10.42.7.0/24"
    assert len(ready_node.routes.ListRoutes(node_pb2.ListRoutesRequest()).routes) == len(many) - 1
