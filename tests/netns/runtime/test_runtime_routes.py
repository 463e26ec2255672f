"""Routes in bulk: each item counts by itself, foreign routes and nexthop objects are never touched."""

from __future__ import annotations

import pytest

from quilt_proto import node_pb2, runtime_pb2
from tests.support.runtime_node import Node, eventually, make_vxlan, show


@pytest.fixture
def meshed(node: Node) -> Node:
    make_vxlan(node.netns)
    return node


def vtep(number: int) -> str:
    return f"10.42.{number}.0"


def wanted(number: int, gateway: str = "") -> node_pb2.Route:
    return node_pb2.Route(
        destination=f"{vtep(number)}/24", gateway=gateway or vtep(number), interface="vxlan100"
    )


def apply(
    node: Node, *, add: list[node_pb2.Route] | None = None, remove: list[str] | None = None
) -> list[str]:
    """Apply and return each item's error."""
    answer = node.routes.ApplyRoutes(node_pb2.ApplyRoutesRequest(add=add or [], remove=remove or []))
    assert [result.success for result in answer.results] == [not result.error for result in answer.results]
    return [result.error for result in answer.results]


def listed(node: Node) -> list[tuple[str, str, str]]:
    routes = node.routes.ListRoutes(node_pb2.ListRoutesRequest()).routes
    return sorted((route.destination, route.gateway, route.interface) for route in routes)


@pytest.mark.kernel(short=True)
def test_routes_are_added_listed_and_removed_with_their_nexthops(meshed: Node) -> None:
    assert apply(meshed, add=[wanted(number) for number in range(2, 202)]) == [""] * 200
    assert len(show(meshed.netns, "nexthop")) == 200
    assert listed(meshed)[0] == ("10.42.10.0/24", "10.42.10.0", "vxlan100")
    (route,) = show(meshed.netns, "route", "show", "10.42.9.0/24")
    assert (route["gateway"], route["protocol"], route["dev"]) == ("10.42.9.0", "81", "vxlan100")
    removed = apply(meshed, remove=[f"10.42.{number}.0/24" for number in range(2, 202)] + ["10.42.250.0/24"])
    assert removed == [""] * 201
    assert listed(meshed) == []
    eventually(lambda: not show(meshed.netns, "nexthop"), "next hop objects without a route are gone")


def test_again_changes_nothing(meshed: Node) -> None:
    apply(meshed, add=[wanted(2), wanted(3)])
    before = show(meshed.netns, "nexthop")
    assert apply(meshed, add=[wanted(2), wanted(3)]) == ["", ""]
    assert show(meshed.netns, "nexthop") == before


def test_another_gateway_replaces(meshed: Node) -> None:
    apply(meshed, add=[wanted(2)])
    assert apply(meshed, add=[wanted(2, "10.42.77.0")]) == [""]
    assert listed(meshed) == [("10.42.2.0/24", "10.42.77.0", "vxlan100")]
    eventually(
        lambda: [hop["gateway"] for hop in show(meshed.netns, "nexthop")] == ["10.42.77.0"],
        "the earlier gateway's next hop object is gone",
    )


@pytest.mark.kernel
def test_a_bad_item_spoils_no_other(meshed: Node) -> None:
    """FIELD-BUGS 13: a bad entry aborts the rest of the batch."""
    meshed.netns.run("ip", "route", "add", "10.42.5.0/24", "dev", "vxlan100")
    bad = [
        node_pb2.Route(destination="nonsense", gateway="10.42.3.0", interface="vxlan100"),
        node_pb2.Route(destination="10.42.4.0/24", gateway="10.42.4.0", interface="gone0"),
        wanted(5),
        node_pb2.Route(destination="10.42.6.0/24", gateway="10.42.6.300", interface="vxlan100"),
        node_pb2.Route(destination="10.42.7.0/24", gateway="fd42::7", interface="vxlan100"),
        node_pb2.Route(destination="127.0.0.0/8", gateway="10.42.3.0", interface="vxlan100"),
    ]
    errors = apply(meshed, add=[wanted(2), *bad, wanted(8)], remove=["also nonsense", "10.42.5.0/24"])
    assert errors[0] == errors[7] == ""
    assert all(errors[1:7])
    assert "Interface 'gone0' not found" in errors[2]
    assert "does not belong to the mesh" in errors[3]
    assert errors[8]
    assert "does not belong to the mesh" in errors[9]
    assert [route[0] for route in listed(meshed)] == ["10.42.2.0/24", "10.42.8.0/24"]
    assert show(meshed.netns, "route", "show", "10.42.5.0/24")[0].get("protocol") != "81"


def test_a_refusal_says_whether_to_try_again(meshed: Node) -> None:
    meshed.netns.run("ip", "link", "set", "vxlan100", "down")
    (down,) = meshed.routes.ApplyRoutes(node_pb2.ApplyRoutesRequest(add=[wanted(2)])).results
    assert down.retryable
    assert "up" in down.error
    meshed.netns.run("ip", "link", "set", "vxlan100", "up")
    meshed.netns.run("ip", "route", "add", "10.42.5.0/24", "dev", "vxlan100")
    (foreign,) = meshed.routes.ApplyRoutes(node_pb2.ApplyRoutesRequest(add=[wanted(5)])).results
    assert not foreign.retryable
    meshed.netns.run("ip", "route", "del", "10.42.5.0/24")
    assert apply(meshed, add=[wanted(5), wanted(2)]) == ["", ""]


@pytest.mark.kernel
def test_a_nexthop_id_of_another_program_is_never_used(meshed: Node) -> None:
    taken = str(0x0A2A0200)
    meshed.netns.run("ip", "nexthop", "add", "id", taken, "dev", "vxlan100", "protocol", "199")
    assert apply(meshed, add=[wanted(2)]) == [""]
    held = {hop["id"]: hop for hop in show(meshed.netns, "nexthop")}
    assert held[int(taken)]["protocol"] == "199"
    assert listed(meshed) == [("10.42.2.0/24", "10.42.2.0", "vxlan100")]
    apply(meshed, remove=["10.42.2.0/24"])
    eventually(
        lambda: [hop["id"] for hop in show(meshed.netns, "nexthop")] == [int(taken)],
        "only the other program's next hop object is there",
    )


@pytest.mark.kernel
def test_what_was_deleted_behind_our_back_is_written_again(meshed: Node) -> None:
    routes = [wanted(2), wanted(3)]
    for command in (
        "ip route del 10.42.2.0/24",
        "ip nexthop flush",
        "ip link set vxlan100 down",
        "ip link del vxlan100",
    ):
        assert apply(meshed, add=routes) == ["", ""]
        meshed.netns.run(*command.split())
        if command.endswith("down"):
            meshed.netns.run("ip", "link", "set", "vxlan100", "up")
        elif "link del" in command:
            make_vxlan(meshed.netns)
        assert apply(meshed, add=routes) == ["", ""], command
        assert len(show(meshed.netns, "route", "show", "dev", "vxlan100")) == 2, command
        assert len(show(meshed.netns, "nexthop")) == 2, command


@pytest.mark.kernel(short=True)
def test_t12_a_deleted_route_is_made_again_by_a_restarted_runtime(meshed: Node) -> None:
    """t12: A route that was there before the runtime is made again once it is deleted, also without IPv6."""
    assert apply(meshed, add=[wanted(2)]) == [""]
    meshed.stop()
    meshed.start()
    assert listed(meshed) == [("10.42.2.0/24", "10.42.2.0", "vxlan100")]
    meshed.netns.run("ip", "route", "del", "10.42.2.0/24")
    assert apply(meshed, add=[wanted(2)]) == [""]
    assert len(show(meshed.netns, "route", "show", "10.42.2.0/24")) == 1


@pytest.mark.kernel
def test_a_lost_last_address_removes_routes_that_come_back(meshed: Node) -> None:
    meshed.netns.run("ip", "addr", "add", "10.42.1.0/32", "dev", "vxlan100")
    assert apply(meshed, add=[wanted(2)]) == [""]
    meshed.netns.run("ip", "addr", "flush", "dev", "vxlan100")
    assert apply(meshed, add=[wanted(2)]) == [""]
    assert len(show(meshed.netns, "route", "show", "10.42.2.0/24")) == 1


@pytest.mark.kernel
def test_the_mesh_adopts_an_injected_route_and_sweeps_no_other(meshed: Node) -> None:
    for number in (2, 3):
        request = runtime_pb2.InjectRouteRequest(destination=f"{vtep(number)}/24", via_interface="vxlan100")
        assert meshed.contract.InjectRoute(request).success
    assert apply(meshed, add=[wanted(2)], remove=["10.42.3.0/24"]) == ["", ""]
    protocols = {route["dst"]: route["protocol"] for route in show(meshed.netns, "route")}
    assert protocols == {"10.42.2.0/24": "81", "10.42.3.0/24": "82"}


def test_an_equal_route_of_the_mesh_satisfies_an_injection(meshed: Node) -> None:
    apply(meshed, add=[wanted(2)])
    request = runtime_pb2.InjectRouteRequest(destination="10.42.2.0/24", via_interface="vxlan100")
    assert meshed.contract.InjectRoute(request).success
    assert show(meshed.netns, "route", "show", "10.42.2.0/24")[0]["protocol"] == "81"


@pytest.mark.kernel
def test_ipv6_routes(meshed: Node) -> None:
    route = node_pb2.Route(destination="fd42:0:0:2::/64", gateway="fd42:0:0:2::", interface="vxlan100")
    assert apply(meshed, add=[route]) == [""]
    assert apply(meshed, add=[route]) == [""]
    assert listed(meshed) == [("fd42:0:0:2::/64", "fd42:0:0:2::", "vxlan100")]
    assert apply(meshed, remove=["fd42:0:0:2::/64"]) == [""]
    assert listed(meshed) == []


def test_thousands_of_routes_in_one_call(meshed: Node) -> None:
    many = [
        node_pb2.Route(
            destination=f"10.{64 + n // 256}.{n % 256}.0/24",
            gateway=f"10.{64 + n // 256}.{n % 256}.0",
            interface="vxlan100",
        )
        for n in range(5000)
    ]
    assert set(apply(meshed, add=many)) == {""}
    assert len(listed(meshed)) == 5000
    assert set(apply(meshed, remove=[route.destination for route in many])) == {""}
    eventually(lambda: not show(meshed.netns, "nexthop"), "next hop objects without a route are gone")
