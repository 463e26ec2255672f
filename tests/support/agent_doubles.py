"""An agent with stand-ins for what it talks to: an API server, and a runtime that only routes.

They speak the real protocols (HTTP, gRPC), so that the agent under test is the whole one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from quilt_kube.access import Access
from quilt_kube.aio import Client
from quilt_netlink import KernelLike
from quilt_nodeagent.agent import Agent
from quilt_nodeagent.cni import CniPaths
from quilt_nodeagent.config import Config
from tests.support.agent_api import GROUP, LEASES, FakeApi, Json, eventually
from tests.support.runtime_double import FakeRuntime

__all__ = ["GROUP", "LEASES", "FakeApi", "Json", "Rig", "eventually", "rig"]


class Rig:
    """An agent of node `self` with its doubles; `kernel` is the fake or a real one."""

    def __init__(self, kernel: KernelLike, folder: Path, open_monitor: Callable[[], Any]) -> None:
        self.kernel = kernel
        self.folder = folder
        self.api = FakeApi()
        self.runtime = FakeRuntime(kernel, folder)
        self._open_monitor = open_monitor
        self._task: asyncio.Task[None] | None = None
        self.cni = CniPaths(folder / "src", folder / "bin", folder / "conf", "/run/quilt/cni.sock")
        self.agent: Agent
        self.url = ""
        for name in ("quilt-cni", "loopback", "portmap", "bandwidth"):
            (folder / "src").mkdir(exist_ok=True)
            (folder / "src" / name).write_text(f"program {name}")

    def node(self, **labels: str) -> None:
        """Publish the Node."""
        addresses = [{"type": "InternalIP", "address": "198.18.0.1"}]
        metadata = {"name": "self", "labels": labels}
        self.api.put("/api/v1/nodes", {"metadata": metadata, "status": {"addresses": addresses}})

    def network(self, **spec: Any) -> None:
        """Publish the Node and the QuiltNetwork."""
        self.node()
        self.api.put(f"{GROUP}/quiltnetworks", {"metadata": {"name": "default"}, "spec": spec})

    async def start(self) -> Agent:
        """Start an agent, as after a restart of its process."""
        runtime = self.runtime.address
        config = Config("self", "default", "", runtime, "127.0.0.1:0", None, self.folder, self.cni)

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

    def events(self, reason: str) -> list[str]:
        """What Events about the node say that have this reason."""
        held = self.api.objects.get("/apis/events.k8s.io/v1/namespaces/default/events", {}).values()
        return [event["note"] for event in held if event["reason"] == reason]

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
