"""A node's pods as a part of the agent: their addresses are published where the network asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio

from quilt_kube.aio import Client
from quilt_pods.endpoints import EndpointsWriter
from quilt_pods.pod_watch import PodWatch
from quilt_pods.runtime import PolicyRuntime
from quilt_pods.switch import Switch


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the network asks for."""

    endpoints: bool


@dataclass(frozen=True, slots=True)
class Host:
    """What the agent knows, asked when it is needed: None until known. `owner` refers to the Node."""

    wanted: Callable[[], Wanted | None]
    owner: Callable[[], dict[str, Any] | None]


class NodePods:
    """One node's pods, over one connection to the runtime and one client."""

    def __init__(self, client: Client, node: str, channel: grpc.aio.Channel, host: Host) -> None:
        self._host = host
        self.pods = PodWatch(PolicyRuntime(channel))
        self.endpoints = EndpointsWriter(client, node, self.pods, owner=host.owner)
        self._switches = (
            Switch(self._wants_endpoints, self.pods.run),
            Switch(self._wants_endpoints, self.endpoints.run),
        )

    def changed(self) -> None:
        """Tell that settings or the Node may be others."""
        for switch in self._switches:
            switch.changed()
        self.endpoints.changed()

    async def run(self) -> None:
        """Follow what is wanted for ever."""
        async with asyncio.TaskGroup() as group:
            for switch in self._switches:
                group.create_task(switch.run())

    def _wants_endpoints(self) -> bool | None:
        wanted = self._host.wanted()
        return None if wanted is None else wanted.endpoints
