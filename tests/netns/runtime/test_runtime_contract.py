"""Conformance of the contract RPCs, from a client of the bare three-call protocol, over every transport."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_tools import protoc

from tests.support.certificates import SERVER, Authority, client, tls_flags
from tests.support.runtime_node import Node, eventually, make_vxlan, show

Call = Callable[..., tuple[bool, str]]


@pytest.fixture(scope="session")
def bare_protocol(tmp_path_factory: pytest.TempPathFactory) -> descriptor_pool.DescriptorPool:
    out = tmp_path_factory.mktemp("contract") / "set"
    here = Path(__file__).parent
    assert (
        protoc.main(["protoc", f"-I{here}", f"--descriptor_set_out={out}", str(here / "contract.proto")]) == 0
    )
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        pool.Add(file)
    return pool


@pytest.fixture(params=["unix", "tcp", "mtls"])
def channel(
    request: pytest.FixtureRequest, make_node: Callable[[], Node], tmp_path: Path
) -> Iterator[tuple[Node, grpc.Channel]]:
    node = make_node()
    if request.param == "unix":
        node.start()
        yield node, node.channel()
    elif request.param == "tcp":
        node.start("--grpc-addr=127.0.0.1:50051")
        with node.relay("127.0.0.1:50051") as relay:
            yield node, node.channel(relay)
    else:
        authority = Authority(tmp_path, "authority")
        node.start("--grpc-addr=0.0.0.0:50051", *tls_flags(authority))
        with node.relay("127.0.0.1:50051") as relay:
            yield node, node.channel(relay, client(authority), SERVER)


@pytest.fixture
def node(channel: tuple[Node, grpc.Channel]) -> Node:
    return channel[0]


@pytest.fixture
def call(channel: tuple[Node, grpc.Channel], bare_protocol: descriptor_pool.DescriptorPool) -> Call:
    service = bare_protocol.FindServiceByName("quilt.QuiltRuntime")

    def do(method: str, **fields: Any) -> tuple[bool, str]:
        described = service.methods_by_name[method]
        request = message_factory.GetMessageClass(described.input_type)
        response = message_factory.GetMessageClass(described.output_type)
        rpc = channel[1].unary_unary(
            f"/quilt.QuiltRuntime/{method}", request.SerializeToString, response.FromString
        )
        answer: Any = rpc(request(**fields), timeout=10)
        assert answer.success == (not answer.error), "an error has a text, a success has none"
        return answer.success, answer.error

    return do


WRONG_SUBNETS = [
    ("10.42.0.0/16", "Subnet must be /24, got /16"),
    ("10.42.1.0/25", "Subnet must be /24, got /25"),
    ("10.99.1.0/24", "Subnet 10.99.1.0/24 must be within cluster CIDR 10.42.0.0/16"),
    ("10.42.1.7/24", "Subnet 10.42.1.7/24 has host bits set; the network is 10.42.1.0/24"),
    ("", "Subnet must not be empty"),
    ("fd42:0:0:1::/64", "Subnet must be IPv4, got IPv6 fd42:0:0:1::/64"),
    ("10.42.1.0", "Invalid CIDR '10.42.1.0': the prefix length is missing, as in 10.42.1.0/24"),
    ("10.42.1/24", "Invalid CIDR '10.42.1/24': "),
    ("10.42.1.0/33", "Invalid CIDR '10.42.1.0/33': "),
    (
        "10.42.1.0/255.255.255.0",
        "Invalid CIDR '10.42.1.0/255.255.255.0': the prefix length must be a number",
    ),
    ("1" * 5000, "Subnet is 5000 characters long"),
]


def test_a_wrong_subnet_is_refused_with_its_reason(call: Call) -> None:
    for subnet, text in WRONG_SUBNETS:
        success, error = call("ConfigureNodeSubnet", subnet=subnet)
        assert not success, subnet
        assert error.startswith(text)


def test_a_subnet_can_be_given_again_and_changed_while_it_is_empty(call: Call, node: Node) -> None:
    for subnet in ("10.42.1.0/24", "10.42.1.0/24", "10.42.2.0/24"):
        assert call("ConfigureNodeSubnet", subnet=subnet) == (True, "")
    addresses = show(node.netns, "-4", "addr", "show", "dev", "quilt0")[0]["addr_info"]
    assert [(a["local"], a["prefixlen"]) for a in addresses] == [("10.42.2.1", 24)]


def test_a_subnet_in_use_cannot_be_changed(call: Call, node: Node) -> None:
    from quilt_proto import node_pb2

    call("ConfigureNodeSubnet", subnet="10.42.1.0/24")
    node.ipam.AllocateIp(node_pb2.AllocateIpRequest(container_id="c1", interface="eth0"))
    success, error = call("ConfigureNodeSubnet", subnet="10.42.2.0/24")
    assert not success
    assert "1 addresses are allocated" in error
    assert call("ConfigureNodeSubnet", subnet="10.42.1.0/24") == (True, "")
    assert len(node.ipam.ListAllocations(node_pb2.ListAllocationsRequest()).allocations) == 1


def test_a_route_over_vxlan_is_via_the_network_address(call: Call, node: Node) -> None:
    make_vxlan(node.netns)
    for _ in range(2):
        assert call("InjectRoute", destination="10.42.2.0/24", via_interface="vxlan100") == (True, "")
    (route,) = show(node.netns, "route", "show", "10.42.2.0/24")
    assert (route["gateway"], route["dev"], route["protocol"]) == ("10.42.2.0", "vxlan100", "82")
    assert "onlink" in route["flags"]


def test_a_route_over_another_interface_is_link_scope_and_replaces(call: Call, node: Node) -> None:
    make_vxlan(node.netns)
    node.netns.run("ip", "link", "add", "ve0", "type", "veth", "peer", "name", "ve1")
    node.netns.run("ip", "link", "set", "ve0", "up")
    node.netns.run("ip", "link", "set", "ve1", "up")
    assert call("InjectRoute", destination="10.42.2.0/24", via_interface="vxlan100") == (True, "")
    assert call("InjectRoute", destination="10.42.2.0/24", via_interface="ve0") == (True, "")
    (route,) = show(node.netns, "route", "show", "10.42.2.0/24")
    assert (route["dev"], route["scope"]) == ("ve0", "link")
    eventually(lambda: not show(node.netns, "nexthop"), "the replaced route's nexthop object is gone")


def test_an_unknown_interface_is_named(call: Call) -> None:
    answer = call("InjectRoute", destination="10.42.2.0/24", via_interface="vxlan7")
    assert answer == (False, "Interface 'vxlan7' not found")


def test_a_wrong_destination_is_refused(call: Call) -> None:
    for wrong in ("", "x", "10.42.2.1/24", "fd42::/64", "0.0.0.0/0", "224.0.0.0/8", "1" * 99):
        for answer in (
            call("InjectRoute", destination=wrong, via_interface="lo"),
            call("RemoveRoute", destination=wrong),
        ):
            assert not answer[0], wrong


def test_a_wrong_interface_is_refused(call: Call) -> None:
    for wrong in ("", "a/b", "x" * 16, "no such", "\u00e9\u00e9", "gone0"):
        success, error = call("InjectRoute", destination="10.42.2.0/24", via_interface=wrong)
        assert not success, wrong
        assert "nterface" in error


def test_a_foreign_route_is_neither_replaced_nor_removed(call: Call, node: Node) -> None:
    make_vxlan(node.netns)
    node.netns.run("ip", "route", "add", "10.42.9.0/24", "dev", "vxlan100", "metric", "50")
    before = show(node.netns, "route")
    for method, fields in (("InjectRoute", {"via_interface": "vxlan100"}), ("RemoveRoute", {})):
        success, error = call(method, destination="10.42.9.0/24", **fields)
        assert not success
        assert "10.42.9.0/24" in error
        assert "does not belong to the mesh" in error
    assert show(node.netns, "route") == before


def test_removal_tolerates_an_absent_route(call: Call, node: Node) -> None:
    make_vxlan(node.netns)
    call("InjectRoute", destination="10.42.2.0/24", via_interface="vxlan100")
    for _ in range(2):
        assert call("RemoveRoute", destination="10.42.2.0/24") == (True, "")
    assert show(node.netns, "route", "show", "10.42.2.0/24") == []


def test_reflection_and_health_answer(channel: tuple[Node, grpc.Channel]) -> None:
    node, connection = channel
    stub = reflection_pb2_grpc.ServerReflectionStub(connection)
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    (answer,) = list(stub.ServerReflectionInfo(asked, timeout=10))
    names = {service.name for service in answer.list_services_response.service}
    assert names >= {
        "quilt.QuiltRuntime",
        "quilt.RouteTable",
        "quilt.Ipam",
        "quilt.NodeConfig",
        "grpc.health.v1.Health",
    }
    health = health_pb2_grpc.HealthStub(connection)

    def status(service: str) -> int:
        return health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status

    serving = health_pb2.HealthCheckResponse.SERVING
    assert status("") == status("quilt.QuiltRuntime") == serving
    assert status("quilt.Cni") == health_pb2.HealthCheckResponse.NOT_SERVING, "there is no subnet yet"
    node.give_subnet()
    eventually(lambda: status("quilt.Cni") == serving, "CNI is served once there is a subnet")
