"""A node's pods between an API server and a runtime, both doubles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio

from quilt_kube.access import Access
from quilt_kube.aio import Client
from quilt_pods.service import Host, NodePods, Wanted
from quilt_policy.program import PodName
from tests.support.agent_api import GROUP, FakeApi, Json
from tests.support.policy_double import FakePolicyRuntime

ENDPOINTS = f"{GROUP}/quiltendpoints"


@dataclass
class Scene:
    """`pods` is what is tested, of node `self`; `start` begins it, `wanted` is what the network asks for."""

    api: FakeApi
    runtime: FakePolicyRuntime
    client: Client
    channel: grpc.aio.Channel
    wanted: Wanted | None = None
    owner: Json | None = field(default_factory=lambda: {"kind": "Node", "name": "self"})
    _task: asyncio.Task[None] | None = None

    def start(self, *, endpoints: bool = True) -> NodePods:
        """Start, as an agent of this node would."""
        host = Host(lambda: self.wanted, lambda: self.owner)
        self.pods = NodePods(self.client, "self", self.channel, host)
        self._task = asyncio.create_task(self.pods.run())
        self.want(endpoints=endpoints)
        return self.pods

    def want(self, *, endpoints: bool = True) -> None:
        """Have the network ask for something."""
        self.wanted = Wanted(endpoints)
        self.pods.changed()

    async def stop(self) -> None:
        """Stop as SIGTERM does."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def published(self) -> dict[str, str] | None:
        """The addresses that are published, by names of pods; None for no object."""
        held = self.api.objects.get(ENDPOINTS, {}).get("self")
        return {one["name"]: one["address"] for one in held["spec"]["endpoints"]} if held else None


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    """Both doubles, running."""
    api, runtime = FakeApi(), FakePolicyRuntime(folder)
    await runtime.start()
    options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100)]
    async with (
        api.serve() as url,
        Client(Access(url), agent="a") as client,
        grpc.aio.insecure_channel(runtime.address, options=options) as channel,
    ):
        made = Scene(api, runtime, client, channel)
        try:
            yield made
        finally:
            await made.stop()
            await runtime.stop()


def name(pod: str, namespace: str = "shop", uid: str = "") -> PodName:
    """A pod's name; its uid is the double's."""
    return PodName(namespace, pod, uid or f"uid-{pod}")
