"""A stand-in for the runtime that only routes, over real gRPC, with faults on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import grpc.aio

from quilt_netlink import Create, Delete, KernelLike, Link, Nexthop, Put, Route, Unreachable
from quilt_netlink.fake import FakeKernel
from quilt_nodeagent.executor.client import RuntimeClient
from quilt_proto import node_pb2, node_pb2_grpc, runtime_pb2, runtime_pb2_grpc
from quilt_runtime.core.routes import preferred_id


class FakeRuntime(
    runtime_pb2_grpc.QuiltRuntimeServicer, node_pb2_grpc.RouteTableServicer, node_pb2_grpc.NodeConfigServicer
):
    """A runtime that routes and remembers; `refuse` holds destinations or subnets that it refuses.

    `before_answer` runs once, between the writing of routes and the answer.
    """

    def __init__(self, kernel: KernelLike, folder: Path) -> None:
        self.address = f"unix://{folder}/runtime.sock"
        self.refuse: set[str] = set()
        self.refused: list[str] = []
        self.configured: list[node_pb2.ConfigureRequest] = []
        self.changes: list[node_pb2.ChangeOverlaySourcesRequest] = []
        self.subnet = ""
        self.subnet_v6 = ""
        self.prefix_length = 24
        self.calls = 0
        self.repairs: dict[str, int] = {}
        self.refusals: list[node_pb2.AddRefusals] = []
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        self._made = 0
        self._kernel = kernel
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Serve; also again after `stop`."""
        server = grpc.aio.server()
        runtime_pb2_grpc.add_QuiltRuntimeServicer_to_server(self, server)
        node_pb2_grpc.add_RouteTableServicer_to_server(self, server)
        node_pb2_grpc.add_NodeConfigServicer_to_server(self, server)
        server.add_insecure_port(self.address)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Go away at once, as by a kill."""
        if self._server is not None:
            await self._server.stop(grace=None)

    async def ConfigureNodeSubnet(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        if request.subnet in self.refuse:
            self.refused.append(request.subnet)
            return runtime_pb2.ConfigureNodeSubnetResponse(success=False, error="3 addresses are allocated")
        length = int(request.subnet.partition("/")[2])
        if length != self.prefix_length:
            text = f"Subnet must be /{self.prefix_length}, got /{length}"
            return runtime_pb2.ConfigureNodeSubnetResponse(success=False, error=text)
        self.subnet = request.subnet
        return runtime_pb2.ConfigureNodeSubnetResponse(success=True)

    async def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        if request.subnet_v6 in self.refuse:
            self.refused.append(request.subnet_v6)
            return node_pb2.ConfigureResponse(success=False, error="3 addresses are allocated")
        self.configured.append(request)
        self.subnet_v6 = request.subnet_v6 or self.subnet_v6
        self.prefix_length = request.node_prefix_length or self.prefix_length
        return node_pb2.ConfigureResponse(success=True)

    async def ChangeOverlaySources(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        held = node_pb2.ConfigureRequest()
        held.CopyFrom(self.configured[-1])
        sources = set(held.overlay_sources) - set(request.remove) | set(request.add)
        held.overlay_sources[:] = sorted(sources)
        self.configured.append(held)
        self.changes.append(request)
        return node_pb2.ConfigureResponse(success=True)

    async def GetStatus(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        return node_pb2.GetStatusResponse(
            version="double",
            subnet=self.subnet,
            subnet_v6=self.subnet_v6,
            repairs=self.repairs,
            add_refusals=self.refusals,
        )

    async def InjectRoute(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        link = self._kernel.link(request.via_interface)
        if request.destination in self.refuse or link is None:
            return runtime_pb2.InjectRouteResponse(success=False, error="refused on demand")
        self._kernel.run(Put(Route(request.destination, 82, ifindex=link.index, scope=253)))
        return runtime_pb2.InjectRouteResponse(success=True)

    async def RemoveRoute(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        if request.destination in self.refuse:
            return runtime_pb2.RemoveRouteResponse(success=False, error="refused on demand")
        for route in self._kernel.routes(protocol=82):
            if route.prefix == request.destination:
                self._kernel.run(Delete(route))
        return runtime_pb2.RemoveRouteResponse(success=True)

    async def ApplyRoutes(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        self.calls += 1
        links = {link.name: link.index for link in self._kernel.links()}
        known = {(n.gateway, n.ifindex): n.id for n in self._kernel.nexthops(protocol=81)}
        held = {route.prefix: route for route in self._kernel.routes(protocol=81)} if request.remove else {}
        adds = [
            node_pb2.Route(destination=destination, gateway=gateway, interface=group.interface)
            for group in request.groups
            for destination, gateway in zip_longest(group.destinations, group.gateways, fillvalue="")
        ]
        results = [self._result(r.destination, partial(self._add, r, links, known)) for r in adds]
        results += [self._result(p, partial(self._remove, held.get(p))) for p in request.remove]
        results += [self._result(p, partial(self._refuse, Put, p)) for p in request.unreachable]
        results += [self._result(p, partial(self._refuse, Delete, p)) for p in request.no_longer_unreachable]
        meddle, self.before_answer = self.before_answer, None
        if meddle is not None:
            await meddle()
        return node_pb2.ApplyRoutesResponse(results=results)

    async def ListRoutes(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        raise NotImplementedError("the agent does not ask for it")

    def _result(self, destination: str, act: Callable[[], None]) -> Any:
        if destination in self.refuse:
            return node_pb2.RouteResult(destination=destination, error="refused on demand", retryable=True)
        try:
            act()
        except OSError as error:
            return node_pb2.RouteResult(destination=destination, error=str(error), retryable=True)
        return node_pb2.RouteResult(destination=destination, success=True)

    def _add(self, route: Any, links: dict[str, int], known: dict[tuple[str, int], int]) -> None:
        if route.interface not in links:
            raise OSError(f"Interface {route.interface!r} not found")
        key = (route.gateway, links[route.interface])
        if key not in known:
            self._made += 1
            # Of every other gateway another program has the number.
            known[key] = preferred_id(route.gateway) if self._made % 2 else 1000 + self._made
            self._kernel.run(Create(Nexthop(known[key], key[1], route.gateway, 81)))
        self._kernel.run(Put(Route(route.destination, 81, nhid=known[key])))

    def _refuse(self, how: type[Put | Delete], prefix: str) -> None:
        self._kernel.run(how(Unreachable(prefix, 81, 0xFFFFFFFF)))

    def _remove(self, route: Route | None) -> None:
        if route is None:
            return
        self._kernel.run(Delete(route))
        if route.nhid:
            self._kernel.run(Delete(Nexthop(route.nhid, 0)))


def overlay_kernel() -> FakeKernel:
    """A kernel with the overlay's device, which is all that routes need."""
    return FakeKernel([Link("vxlan100", kind="veth", up=True)])


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[FakeRuntime]:
    """A runtime on such a kernel, which serves in a folder."""
    double = FakeRuntime(overlay_kernel(), folder)
    await double.start()
    yield double
    await double.stop()


@asynccontextmanager
async def connected(runtime: FakeRuntime) -> AsyncIterator[RuntimeClient]:
    """A client of a runtime that has time for every answer."""
    client = RuntimeClient(runtime.address, timeout=60.0)
    yield client
    await client.close()
