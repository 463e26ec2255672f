"""An agent with stand-ins for what it talks to: here an API server with faults on demand.

They speak the real protocols (HTTP, gRPC), so that the agent under test is the whole one.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from quilt_kube.access import Access
from quilt_kube.aio import Client
from quilt_netlink import KernelLike
from quilt_nodeagent.agent import Agent
from quilt_nodeagent.cni import CniPaths
from quilt_nodeagent.config import Config
from tests.support.runtime_double import FakeRuntime

Json = dict[str, Any]
GROUP = "/apis/quilt.io/v1alpha1"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/quilt-node-lease/leases"


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the timeout is the test's, not a promise."""
    async with asyncio.timeout(60.0 * float(os.environ.get("QUILT_TEST_PATIENCE", "1"))):
        while not condition():  # noqa: ASYNC110  kernel state has no event that covers every condition
            await asyncio.sleep(0.002)


class FakeApi:
    """An API server of a few collections. `refuse` answers everything with that status while it is set.

    `undeclared` is a field of a status that its CRD does not have.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Json]] = {}
        self.requests: list[tuple[str, str]] = []
        self.refuse = 0
        self.undeclared = ""
        self.oldest = 0
        self._version = 1
        self._log: list[tuple[int, str, str, Json]] = []
        self._changed = asyncio.Condition()
        self._watches: set[asyncio.Task[Any]] = set()
        self._frozen: set[asyncio.Task[Any]] = set()

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
        """Release a QuiltSubnet and delete it, as the operator does."""
        collection, name = f"{GROUP}/quiltsubnets", cidr.replace("/", "-").replace(":", "-")
        held = self.objects[collection][name]
        self.put(collection, {**held, "mesh": {**held["mesh"], "phase": "Releasing"}})
        self.delete(collection, name)

    def count(self, method: str, part: str) -> int:
        """How many requests of a method had `part` in their path and query."""
        return sum(1 for verb, url in self.requests if verb == method and part in url)

    def cut(self) -> None:
        """Cut every watch's connection."""
        for task in self._watches:
            task.cancel()

    def freeze(self) -> None:
        """Let the watches that are open say nothing any more, as those of an API server that hangs."""
        self._frozen |= self._watches

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
        answer: web.Response = await getattr(self, f"_{request.method.lower()}")(request)
        return answer

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
        status = (await request.json())["status"]
        held = self.objects.get(collection, {}).get(name)
        if held is None:
            return _status(404, f"{name} not found")
        if self.undeclared in status:
            return _status(500, f".status.{self.undeclared}: field not declared in schema")
        return web.json_response(
            self.put(collection, {**held, "status": {**held.get("status", {}), **status}})
        )

    def _later(self, version: int) -> bool:
        return self._version > version

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
                    await self._changed.wait_for(partial(self._later, version))
                if task in self._frozen:
                    await asyncio.Event().wait()
        finally:
            self._watches.discard(task)


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code)


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
            async with Client(Access(self.url), agent="a") as client:
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
        status: Json = self.api.objects.get(f"{GROUP}/quiltnodes", {}).get("self", {}).get("status", {})
        return status

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
