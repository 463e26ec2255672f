"""A third party's gRPC client (grpcurl) drives the contract RPCs over both kinds of socket."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from quilt_devcluster import binaries
from tests.support.mesh import SOON, Mesh, Pod, until

TARGETS = {
    "unix": ["-unix", "/run/quilt/runtime.sock"],
    "tcp": ["127.0.0.1:50051"],
}
GRPCURL = str(binaries.program("grpcurl"))
Call = Callable[..., dict[str, object]]


@pytest.fixture(scope="module")
def node(mesh: Mesh, pods: dict[str, Pod]) -> str:
    """A node that runs a pod, whose runtime also listens on loopback TCP."""
    return next(iter(pods))


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> list[str]:
    return TARGETS[request.param]


@pytest.fixture
def call(mesh: Mesh, node: str, target: list[str]) -> Call:
    def call(method: str, **fields: str) -> dict[str, object]:
        command = [GRPCURL, "-plaintext", "-d", json.dumps(fields), *target, f"quilt.QuiltRuntime/{method}"]
        answer: dict[str, object] = json.loads(mesh.on(node, *command))
        return answer

    return call


def refused(answer: dict[str, object], *texts: str) -> None:
    assert not answer.get("success")
    for text in texts:
        assert text in str(answer["error"])


def test_the_services_are_listed(mesh: Mesh, node: str, target: list[str]) -> None:
    listed = mesh.on(node, GRPCURL, "-plaintext", *target, "list").split()
    assert {"quilt.QuiltRuntime", "quilt.RouteTable", "quilt.Ipam", "grpc.health.v1.Health"} <= set(listed)
    health = mesh.on(node, GRPCURL, "-plaintext", *target, "grpc.health.v1.Health/Check")
    assert json.loads(health) == {"status": "SERVING"}


def test_the_socket_is_protected(mesh: Mesh, node: str) -> None:
    assert mesh.on(node, "stat", "-c", "%a %F", "/run/quilt/runtime.sock") == "660 socket\n"
    assert mesh.on(node, "stat", "-c", "%a", "/run/quilt") == "700\n"


@pytest.mark.parametrize(
    ("subnet", "text"),
    [
        ("10.42.0.0/16", "Subnet must be /24, got /16"),
        ("10.99.1.0/24", "Subnet 10.99.1.0/24 must be within cluster CIDR 10.42.0.0/16"),
        ("10.42.1.7/24", "host bits"),
        ("not-a-cidr", "not-a-cidr"),
        ("", "empty"),
        ("fd42::/64", "IPv4"),
        ("1" * 5000, "long"),
    ],
)
def test_a_bad_subnet_is_refused(call: Call, subnet: str, text: str) -> None:
    refused(call("ConfigureNodeSubnet", subnet=subnet), text)


def test_the_same_subnet_again_succeeds(mesh: Mesh, node: str, call: Call) -> None:
    assert call("ConfigureNodeSubnet", subnet=mesh.subnets()[node]["spec"]["cidr"]) == {"success": True}


def test_another_subnet_is_refused_while_pods_hold_addresses(call: Call) -> None:
    refused(call("ConfigureNodeSubnet", subnet="10.42.77.0/24"), "10.42.77.0/24", "address")


def test_a_route_is_injected_replaced_and_removed(mesh: Mesh, node: str, call: Call) -> None:
    destination = "10.42.200.0/24"

    def route() -> str:
        return mesh.on(node, "ip", "route", "show", destination)

    for _ in range(2):
        assert call("InjectRoute", destination=destination, via_interface="vxlan100") == {"success": True}
        assert "via 10.42.200.0 dev vxlan100" in route()
        assert "proto 82" in route()
    assert call("InjectRoute", destination=destination, via_interface="quilt0") == {"success": True}
    assert "dev quilt0" in route()
    assert "scope link" in route()
    assert len(route().splitlines()) == 1
    for _ in range(2):
        assert call("RemoveRoute", destination=destination) == {"success": True}
    assert route() == ""


@pytest.mark.parametrize(
    ("destination", "interface", "text"),
    [
        ("10.42.201.0/24", "vxlan7", "Interface 'vxlan7' not found"),
        ("10.42.201.0/24", "", "interface"),
        ("10.42.201.5/24", "vxlan100", "host bits"),
        ("nonsense", "vxlan100", "nonsense"),
        ("", "vxlan100", "empty"),
        ("10.42.201.0/24", "x" * 300, "interface"),
    ],
)
def test_a_bad_route_is_refused(call: Call, destination: str, interface: str, text: str) -> None:
    answer = call("InjectRoute", destination=destination, via_interface=interface)
    assert text.lower() in str(answer["error"]).lower()
    refused(answer)


def test_a_foreign_route_is_left_alone(mesh: Mesh, node: str, call: Call) -> None:
    mesh.on(node, "ip", "route", "add", "198.19.255.0/24", "dev", "lo", "proto", "static")
    try:
        before = mesh.on(node, "ip", "route", "show", "198.19.255.0/24")
        refused(
            call("InjectRoute", destination="198.19.255.0/24", via_interface="vxlan100"), "198.19.255.0/24"
        )
        refused(call("RemoveRoute", destination="198.19.255.0/24"), "198.19.255.0/24")
        assert mesh.on(node, "ip", "route", "show", "198.19.255.0/24") == before
    finally:
        mesh.on(node, "ip", "route", "del", "198.19.255.0/24")


def test_an_injected_route_survives_the_agent(mesh: Mesh, node: str, call: Call) -> None:
    destination = "10.42.202.0/24"
    call("InjectRoute", destination=destination, via_interface="vxlan100")
    mesh.on(
        node, "sh", "-c", "ip route show dev vxlan100 proto 81 | while read p _; do ip route del $p; done"
    )
    peers = len(mesh.subnets()) - 1
    healed = ["sh", "-c", "ip route show dev vxlan100 proto 81 | wc -l"]
    until("the mesh's routes are back", lambda: int(mesh.on(node, *healed)) == peers, SOON)
    assert destination in mesh.on(node, "ip", "route", "show", "proto", "82")
    assert call("RemoveRoute", destination=destination) == {"success": True}


def test_a_route_of_one_node_is_discovered_and_kept(mesh: Mesh, node: str) -> None:
    """By the administrator's word in its QuiltNode, over the bridge that knows a machine's MAC."""
    member, destination = "02:00:00:00:00:22", "10.60.0.0/24"

    def bridge(name: str) -> None:
        script = f"ip link add {name} up type bridge; ip link add guest0 up type veth peer name guest1"
        mesh.on(node, "sh", "-ec", f"{script}; ip link set guest0 address {member} master {name}")

    def wish(*routes: dict[str, str]) -> None:
        patch = json.dumps({"spec": {"routes": routes}})
        mesh.kubectl("patch", "quiltnode", node, "--type=merge", "-p", patch)

    def leads_over(name: str) -> bool:
        return f"dev {name}" in mesh.on(node, "ip", "route", "show", destination, "proto", "82")

    try:
        bridge("guests0")
        wish({"destination": destination, "bridgeMember": member})
        until("the route exists", lambda: leads_over("guests0"), timeout=20)
        mesh.on(node, "sh", "-ec", "ip link del guest0; ip link del guests0")
        bridge("guests1")
        until("it follows to another bridge", lambda: leads_over("guests1"), timeout=20)
        wish()
        until("it is removed with its wish", lambda: not leads_over("guests1"), timeout=20)
    finally:
        wish()
        mesh.on(node, "sh", "-c", "ip link del guest0; ip link del guests0; ip link del guests1; true")
