"""Stand-ins for what an agent talks to: an API server with faults on demand, and a runtime that only routes.

Both speak the real protocols (HTTP, gRPC), so that the agent under test is the whole one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import grpc.aio
from aiohttp import web

from quilt_netlink import Create, Delete, KernelLike, Nexthop, Put, Route
from quilt_nodeagent.agent import Agent
from quilt_nodeagent.api.access import Access
from quilt_nodeagent.api.client import ApiClient
from quilt_nodeagent.cni import CniPaths
from quilt_nodeagent.config import Config
from quilt_proto import node_pb2, node_pb2_grpc, runtime_pb2, runtime_pb2_grpc

Json = dict[str, Any]
GROUP = "/apis/quilt.io/v1alpha1"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/quilt-node-lease/leases"


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the timeout is the test's, not a promise."""
    async with asyncio.timeout(10.0):
        while not condition():  # noqa: ASYNC110  kernel state has no event that covers every condition
            await asyncio.sleep(0.002)


class FakeApi:
    """An API server of a few collections. `refuse` answers everything with that status while it is set."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Json]] = {}
        self.requests: list[tuple[str, str]] = []
        self.refuse = 0
        self.oldest = 0
        self._version = 1
        self._log: list[tuple[int, str, str, Json]] = []
        self._changed = asyncio.Condition()
        self._watches: set[asyncio.Task[Any]] = set()

    def put(self, collection: str, item: Json) -> Json:
        """Create or replace an object, telling watches."""
        name = item["metadata"]["name"]
        kind = "MODIFIED" if name in self.objects.setdefault(collection, {}) else "ADDED"
        self._version += 1
        item = {
            **item,
            "metadata": {"uid": f"uid-{name}", **item["metadata"], "resourceVersion": str(self._version)},
        }
        self.objects[collection][name] = item
        self._tell(kind, collection, item)
        return item

    def delete(self, collection: str, name: str) -> None:
        """Delete an object, telling watches."""
        self._version += 1
        item = self.objects[collection].pop(name)
        self._tell(
            "DELETED",
            collection,
            {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}},
        )

    def claim(self, cidr: str, node: str, host_ip: str, phase: str = "Up") -> None:
        """Publish a QuiltSubnet."""
        name = cidr.replace("/", "-").replace(":", "-")
        spec = {"cidr": cidr, "network": "default", "node": node}
        self.put(
            f"{GROUP}/quiltsubnets",
            {"metadata": {"name": name}, "spec": spec, "mesh": {"phase": phase, "hostIP": host_ip}},
        )

    def unclaim(self, cidr: str) -> None:
        """Delete a QuiltSubnet."""
        self.delete(f"{GROUP}/quiltsubnets", cidr.replace("/", "-").replace(":", "-"))

    def count(self, method: str, part: str) -> int:
        """How many requests of a method had `part` in their path and query."""
        return sum(1 for verb, url in self.requests if verb == method and part in url)

    def cut(self) -> None:
        """Cut every watch's connection."""
        for task in self._watches:
            task.cancel()

    def expire(self) -> None:
        """Forget the history: a watch from an old version is answered with 410."""
        self.oldest = self._version + 1
        self._version += 1

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Listen on loopback; gives the URL."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            self.cut()
            await runner.cleanup()

    def _tell(self, kind: str, collection: str, item: Json) -> None:
        self._log.append((self._version, kind, collection, item))

        async def notify() -> None:
            async with self._changed:
                self._changed.notify_all()

        task = asyncio.get_running_loop().create_task(notify())
        task.add_done_callback(lambda _: None)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, str(request.rel_url)))
        if self.refuse:
            return _status(self.refuse, "refused on demand")
        if request.query.get("watch"):
            return await self._watch(request)
        return await getattr(self, f"_{request.method.lower()}")(request)

    async def _get(self, request: web.Request) -> web.Response:
        path = request.path
        if path in self.objects:
            selector = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
            items = [item for name, item in self.objects[path].items() if selector in ("", name)]
            return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})
        collection, _, name = path.rpartition("/")
        if name in self.objects.get(collection, {}):
            return web.json_response(self.objects[collection][name])
        if path.startswith(GROUP) and path.count("/") == 4:
            return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": []})
        return _status(404, f"{name} not found")

    async def _post(self, request: web.Request) -> web.Response:
        item = await request.json()
        if item["metadata"]["name"] in self.objects.get(request.path, {}):
            return _status(409, "already exists")
        return web.json_response(self.put(request.path, item), status=201)

    async def _put(self, request: web.Request) -> web.Response:
        collection, _, name = request.path.rpartition("/")
        item, held = await request.json(), self.objects.get(collection, {}).get(name)
        if held is None:
            return _status(404, f"{name} not found")
        if item["metadata"].get("resourceVersion") != held["metadata"]["resourceVersion"]:
            return _status(409, "the object has been modified")
        return web.json_response(self.put(collection, item))

    async def _patch(self, request: web.Request) -> web.Response:
        collection, _, name = request.path.removesuffix("/status").rpartition("/")
        held = self.objects.get(collection, {}).get(name)
        if held is None:
            return _status(404, f"{name} not found")
        status = (await request.json())["status"]
        return web.json_response(
            self.put(collection, {**held, "status": {**held.get("status", {}), **status}})
        )

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        version = int(request.query["resourceVersion"])
        if version < self.oldest:
            return _status(410, "too old resource version")
        selector = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        response = web.StreamResponse()
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        try:
            while True:
                for at, kind, collection, item in [entry for entry in self._log if entry[0] > version]:
                    version = at
                    if collection == request.path and selector in ("", item["metadata"]["name"]):
                        await response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")
                async with self._changed:
                    await self._changed.wait_for(lambda seen=version: self._version > seen)
        finally:
            self._watches.discard(task)


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code)


class FakeRuntime(
    runtime_pb2_grpc.QuiltRuntimeServicer, node_pb2_grpc.RouteTableServicer, node_pb2_grpc.NodeConfigServicer
):
    """A runtime that routes and remembers; `refuse` holds destinations or subnets that it refuses.

    `before_answer` runs once, between the writing of routes and the answer.
    """

    def __init__(self, kernel: KernelLike, folder: Path) -> None:
        self.address = f"unix://{folder}/runtime.sock"
        self.refuse: set[str] = set()
        self.configured: list[node_pb2.ConfigureRequest] = []
        self.subnet = ""
        self.subnet_v6 = ""
        self.calls = 0
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        self._number = 1000
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
            return runtime_pb2.ConfigureNodeSubnetResponse(success=False, error="3 addresses are allocated")
        self.subnet = request.subnet
        return runtime_pb2.ConfigureNodeSubnetResponse(success=True)

    async def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        self.configured.append(request)
        self.subnet_v6 = request.subnet_v6 or self.subnet_v6
        return node_pb2.ConfigureResponse(success=True)

    async def GetStatus(self, request: Any, context: Any) -> Any:  # noqa: N802  gRPC's name
        return node_pb2.GetStatusResponse(version="double", subnet=self.subnet, subnet_v6=self.subnet_v6)

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
        meddle, self.before_answer = self.before_answer, None
        if meddle is not None:
            await meddle()
        return node_pb2.ApplyRoutesResponse(results=results)

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
            self._number += 1
            self._kernel.run(Create(Nexthop(self._number, key[1], route.gateway)))
            known[key] = self._number
        self._kernel.run(Put(Route(route.destination, 81, nhid=known[key])))

    def _remove(self, route: Route | None) -> None:
        if route is None:
            return
        self._kernel.run(Delete(route))
        if route.nhid:
            self._kernel.run(Delete(Nexthop(route.nhid, 0)))


class Rig:
    """An agent of node `self` with its doubles; `kernel` is the fake or a real one."""

    def __init__(self, kernel: KernelLike, folder: Path, open_monitor: Callable[[], Any]) -> None:
        self.kernel = kernel
        self.folder = folder
        self.api = FakeApi()
        self.runtime = FakeRuntime(kernel, folder)
        self._open_monitor = open_monitor
        self._task: asyncio.Task[None] | None = None
        self.agent: Agent
        self.url = ""
        for name in ("quilt-cni", "loopback", "portmap", "bandwidth"):
            (folder / "src").mkdir(exist_ok=True)
            (folder / "src" / name).write_text(f"program {name}")

    def network(self, **spec: Any) -> None:
        """Publish the Node and the QuiltNetwork."""
        addresses = [{"type": "InternalIP", "address": "198.18.0.1"}]
        self.api.put("/api/v1/nodes", {"metadata": {"name": "self"}, "status": {"addresses": addresses}})
        self.api.put(f"{GROUP}/quiltnetworks", {"metadata": {"name": "default"}, "spec": spec})

    async def start(self) -> Agent:
        """Start an agent, as after a restart of its process."""
        cni = CniPaths(self.folder / "src", self.folder / "bin", self.folder / "conf", "/run/quilt/cni.sock")
        config = Config("self", "default", "", self.runtime.address, "127.0.0.1:0", None, self.folder, cni)

        async def run() -> None:
            async with ApiClient(Access(self.url)) as client:
                self.agent = Agent(config, self.kernel, client, "1.2.3", self._open_monitor)
                started.set()
                await self.agent.run()

        started = asyncio.Event()
        self._task = asyncio.create_task(run())
        await started.wait()
        return self.agent

    async def stop(self) -> None:
        """Stop the agent as SIGTERM does."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def ready(self) -> None:
        """Wait until the agent is ready."""
        await eventually(lambda: not self.agent.report.unready())

    def counter(self, name: str, **labels: str) -> float:
        """Value of one of the agent's metrics, 0 when it has none yet."""
        return self.agent.metrics.registry.get_sample_value(f"quilt_agent_{name}", labels) or 0.0

    def status(self) -> Json:
        """Status of the QuiltNode as the API holds it."""
        return self.api.objects.get(f"{GROUP}/quiltnodes", {}).get("self", {}).get("status", {})

    def condition(self, kind: str) -> Json:
        """One condition of the QuiltNode, empty while it is not there."""
        return next((c for c in self.status().get("conditions", []) if c["type"] == kind), {})


@asynccontextmanager
async def rig(kernel: KernelLike, folder: Path, open_monitor: Callable[[], Any]) -> AsyncIterator[Rig]:
    """A rig whose doubles run; starting the agent is the test's."""
    made = Rig(kernel, folder, open_monitor)
    async with made.api.serve() as url:
        made.url = url
        await made.runtime.start()
        try:
            yield made
        finally:
            await made.stop()
            await made.runtime.stop()
