"""Every service answers over gRPC: what it did, or why not, in the form that its response has for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import grpc
import pytest

from quilt_netlink import Link
from quilt_netlink.fake import FakeKernel
from quilt_policy.program import PodName
from quilt_proto import node_pb2, node_pb2_grpc, policy_pb2, policy_pb2_grpc, runtime_pb2, runtime_pb2_grpc
from quilt_runtime.addresses import Addresses
from quilt_runtime.app import Runtime, Settings
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.ipam import Owner
from quilt_runtime.kernel.routes import RouteExecutor
from quilt_runtime.metrics import Metrics
from quilt_runtime.network import NodeNetwork
from quilt_runtime.services.server import GrpcServer
from quilt_runtime.state import Store

MESH = [f"10.42.{number}.0/24" for number in range(2, 30)]


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """A runtime whose kernel is in memory; nobody gives it a bridge or a packet filter."""
    store = Store(tmp_path)
    addresses = Addresses(store)
    network = NodeNetwork(store, addresses, tmp_path, NodeConfig())
    kernel = FakeKernel([Link("vxlan100", kind="vxlan", up=True)])
    return Runtime(store, addresses, network, RouteExecutor(kernel), Metrics())


@pytest.fixture
async def channel(runtime: Runtime, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    settings = Settings(tmp_path, tmp_path, tmp_path, (), (), None, None, False, True)
    server = GrpcServer(runtime, settings)
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 'runtime.sock'}") as channel:
        yield channel
    await server.stop()


def counted(runtime: Runtime, name: str, method: str) -> float:
    return runtime.metrics.registry.get_sample_value(f"quilt_runtime_{name}", {"method": method}) or 0.0


async def test_the_contract_answers_success_or_a_text(runtime: Runtime, channel: grpc.aio.Channel) -> None:
    stub = runtime_pb2_grpc.QuiltRuntimeStub(channel)
    added = await stub.InjectRoute(
        runtime_pb2.InjectRouteRequest(destination="10.42.2.0/24", via_interface="vxlan100")
    )
    assert (added.success, added.error) == (True, "")
    removed = await stub.RemoveRoute(runtime_pb2.RemoveRouteRequest(destination="10.42.2.0/24"))
    assert removed.success
    refused = await stub.ConfigureNodeSubnet(runtime_pb2.ConfigureNodeSubnetRequest(subnet="10.42.1.0/16"))
    assert not refused.success
    assert refused.error == "Subnet 10.42.1.0/16 has host bits set; the network is 10.42.0.0/16"
    assert counted(runtime, "rpc_failures_total", "ConfigureNodeSubnet") == 1
    assert counted(runtime, "rpc_duration_seconds_count", "RemoveRoute") == 1


async def test_addresses_are_given_in_both_families(runtime: Runtime, channel: grpc.aio.Channel) -> None:
    stub = node_pb2_grpc.IpamStub(channel)
    request = node_pb2.AllocateIpRequest(container_id="c1", interface="eth0")
    early = await stub.AllocateIp(request)
    assert (early.success, early.error) == (
        False,
        "This node has no pod subnet yet; it gets one once the agent is in sync",
    )
    runtime.addresses.set_subnet(IPv4Network("10.42.1.0/24"))
    alone = await stub.AllocateIp(request)
    assert (alone.success, list(alone.addresses), alone.gateway) == (True, ["10.42.1.2/32"], "10.42.1.1")
    assert alone.gateway_v6 == ""
    runtime.addresses.set_subnet(IPv6Network("fd42:42:0:1::/64"))
    both = await stub.AllocateIp(request)
    assert list(both.addresses) == ["10.42.1.2/32", "fd42:42:0:1::2/128"]
    assert (both.gateway, both.gateway_v6) == ("10.42.1.1", "fd42:42:0:1::1")
    (held,) = (await stub.ListAllocations(node_pb2.ListAllocationsRequest())).allocations
    assert (held.container_id, held.interface, held.address) == ("c1", "eth0", "10.42.1.2")
    unnamed = await stub.ReleaseIp(node_pb2.ReleaseIpRequest(interface="eth0"))
    assert unnamed.error == "container_id '' is not a container id"
    assert (await stub.ReleaseIp(node_pb2.ReleaseIpRequest(container_id="c1", interface="eth0"))).success
    assert len(runtime.addresses) == 0


async def test_pods_are_reported_as_long_as_somebody_listens(
    runtime: Runtime, channel: grpc.aio.Channel
) -> None:
    runtime.addresses.set_subnet(IPv4Network("10.42.1.0/24"))
    runtime.addresses.allocate(Owner("c1", "eth0"), "quilt", pod=PodName("default", "web", "u1"))
    stub = policy_pb2_grpc.PolicyStub(channel)
    call = stub.WatchPods(policy_pb2.WatchPodsRequest())
    first = await call.read()
    assert (first.what, first.pod.namespace, first.pod.name, first.pod.uid, first.address) == (
        *(policy_pb2.PodEvent.CONNECTED, "default", "web", "u1", "10.42.1.2"),
    )
    assert (first.container_id, first.interface) == ("c1", "eth0")
    assert (await call.read()).what == policy_pb2.PodEvent.SYNCED
    request = node_pb2.ReleaseIpRequest(container_id="c1", interface="eth0")
    assert (await node_pb2_grpc.IpamStub(channel).ReleaseIp(request)).success
    assert (await call.read()).what == policy_pb2.PodEvent.DISCONNECTED
    runtime.network.feed.close()
    assert await call.read() is grpc.aio.EOF


async def test_a_slow_reader_of_pods_is_disconnected_with_the_reason(
    runtime: Runtime, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = policy_pb2_grpc.PolicyStub(channel).WatchPods(policy_pb2.WatchPodsRequest())
    assert (await call.read()).what == policy_pb2.PodEvent.SYNCED
    monkeypatch.setattr("quilt_runtime.podfeed.MOST_UNREAD", 0)
    runtime.addresses.set_subnet(IPv4Network("10.42.1.0/24"))
    pod = PodName("default", "web", "u1")
    runtime.network.feed.connected(runtime.addresses.allocate(Owner("c1", "eth0"), "quilt", pod=pod)[0])
    with pytest.raises(grpc.aio.AioRpcError, match="connect again for all pods") as failed:
        await call.read()
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("destinations", [MESH[:2], MESH], ids=["at once", "in a thread"])
async def test_routes_are_answered_one_by_one(destinations: list[str], channel: grpc.aio.Channel) -> None:
    stub = node_pb2_grpc.RouteTableStub(channel)
    gateways = [text.partition("/")[0] for text in destinations]
    group = node_pb2.RouteGroup(interface="vxlan100", destinations=destinations, gateways=gateways)
    request = node_pb2.ApplyRoutesRequest(
        groups=[group], remove=["10.50.0.0/24", "nonsense"], unreachable=["10.42.0.0/16"]
    )
    results = (await stub.ApplyRoutes(request)).results
    assert [result.destination for result in results] == [
        *destinations,
        "10.50.0.0/24",
        "nonsense",
        "10.42.0.0/16",
    ]
    assert [result.destination for result in results if not result.success] == ["nonsense"]
    request.failures_only = True
    (refused,) = (await stub.ApplyRoutes(request)).results
    assert refused.error == "Invalid CIDR 'nonsense': the prefix length is missing, as in 10.42.1.0/24"
    held = (await stub.ListRoutes(node_pb2.ListRoutesRequest())).routes
    assert sorted((route.destination, route.gateway, route.interface) for route in held) == sorted(
        (prefix, gateway, "vxlan100") for prefix, gateway in zip(destinations, gateways, strict=True)
    )


async def test_an_error_inside_is_a_text_for_every_item(
    runtime: Runtime, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: RouteExecutor, *arguments: object, **others: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(RouteExecutor, "apply", broken)
    stub = node_pb2_grpc.RouteTableStub(channel)
    results = (await stub.ApplyRoutes(node_pb2.ApplyRoutesRequest(remove=MESH[:2]))).results
    text = "ApplyRoutes failed inside the runtime; its log has the reason"
    assert [(result.error, result.retryable) for result in results] == [(text, True)] * 2
    assert counted(runtime, "rpc_failures_total", "ApplyRoutes") == 1


async def test_what_has_no_field_for_an_error_ends_with_a_status(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable = channel.unary_unary("/quilt.RouteTable/ListRoutes")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await unreadable(b"\xff")
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    def broken(self: RouteExecutor) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(RouteExecutor, "held", broken)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await node_pb2_grpc.RouteTableStub(channel).ListRoutes(node_pb2.ListRoutesRequest())
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
    assert failed.value.details() == "ListRoutes failed inside the runtime; its log has the reason"


async def test_bytes_that_are_no_request_are_answered_in_the_contracts_form(
    channel: grpc.aio.Channel,
) -> None:
    call = channel.unary_unary(
        "/quilt.QuiltRuntime/InjectRoute", response_deserializer=runtime_pb2.InjectRouteResponse.FromString
    )
    answer = await call(b"\xff")
    assert answer.error == (
        "The request is not a quilt.InjectRouteRequest in protobuf, whose texts are UTF-8"
    )


async def test_a_configuration_is_taken_as_far_as_it_can_be(
    runtime: Runtime, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NodeNetwork, "ensure", lambda self, areas=(): None)
    stub = node_pb2_grpc.NodeConfigStub(channel)
    done = await stub.Configure(
        node_pb2.ConfigureRequest(
            mtu=1400, vxlan_port=70000, overlay_sources=["198.18.0.2"], multicast=True, spoof_guard=False
        )
    )
    assert done.error == "VXLAN port 70000 must be between 1 and 65535"
    config = runtime.network.config
    assert (config.mtu, config.vxlan_port, config.overlay_sources) == (1400, 4789, {"198.18.0.2"})
    assert (config.multicast, config.fast_leave, config.spoof_guard) == (True, False, False)
    request = node_pb2.ConfigureRequest(
        cluster_cidrs=["10.42.0.0/16", "fd42::/48"], subnet_v6="fd42:0:0:1::/64"
    )
    assert (await stub.Configure(request)).success
    assert runtime.network.config.spoof_guard
    changed = await stub.ChangeOverlaySources(node_pb2.ChangeOverlaySourcesRequest(add=["198.18.0.3"]))
    assert changed.success
    assert runtime.network.config.overlay_sources == {"198.18.0.3"}
    status = await stub.GetStatus(node_pb2.GetStatusRequest())
    assert (status.subnet, status.subnet_v6, status.capacity) == ("", "fd42:0:0:1::/64", 0)
