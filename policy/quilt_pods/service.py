"""A node's pods as a part of the agent: their addresses published, and policies enforced, each where wanted.

Turned off they leave nothing: the operator deletes QuiltEndpoints, and the runtime, as the agent configures
it, removes what it enforced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio
from prometheus_client import CollectorRegistry

from quilt_crds.wire_network import QuiltNetworkSpec
from quilt_kube.aio import Client
from quilt_pods.endpoints import EndpointsWriter
from quilt_pods.metrics import PolicyMetrics
from quilt_pods.pod_watch import PodWatch
from quilt_pods.runtime import PolicyRuntime
from quilt_pods.switch import Switch
from quilt_policy.program import PodName

if TYPE_CHECKING:
    from quilt_pods.enforcement import Enforcement
    from quilt_pods.places import Claim


@dataclass(frozen=True, slots=True)
class Host:
    """What the agent knows, asked when it is needed: `network` and `owner` are None until known.

    `owner` is the reference to the Node, `claims` are the mesh's, `enforcing` says whether the runtime is
    configured to enforce policies; `reported` hears that `problems` changed.
    """

    network: Callable[[], QuiltNetworkSpec | None]
    owner: Callable[[], dict[str, Any] | None]
    claims: Callable[[], Iterable[Claim]]
    enforcing: Callable[[], bool]
    reported: Callable[[], None]


class NodePods:
    """Both features of one node, over one connection to the runtime and one client."""

    def __init__(
        self, client: Client, node: str, channel: grpc.aio.Channel, registry: CollectorRegistry, host: Host
    ) -> None:
        self._client = client
        self._node = node
        self._host = host
        self._runtime = PolicyRuntime(channel)
        self._metrics = PolicyMetrics(registry)
        self._enforcement: Enforcement | None = None
        self.pods = PodWatch(self._runtime)
        self.endpoints = EndpointsWriter(client, node, self.pods, owner=host.owner, uid=self._uid)
        self._switches = (
            Switch(self._wants_endpoints, self.pods.run),
            Switch(self._wants_endpoints, self.endpoints.run),
            Switch(self._wants_policies, self._enforce),
        )

    @property
    def problems(self) -> list[str]:
        """Why policies are not enforced as they should be, as sentences."""
        return self._enforcement.problems if self._enforcement is not None else []

    def changed(self) -> None:
        """Tell that settings, the mesh or the Node may be others."""
        for switch in self._switches:
            switch.changed()
        self.endpoints.changed()
        if self._enforcement is not None:
            self._enforcement.mesh_changed()

    def restored(self) -> None:
        """Tell that the runtime is a new one, which knows nothing."""
        if self._enforcement is not None:
            self._enforcement.restored()

    async def run(self) -> None:
        """Follow what is wanted for ever; what the runtime enforces stays when this ends."""
        async with asyncio.TaskGroup() as group:
            for switch in self._switches:
                group.create_task(switch.run())

    async def _enforce(self) -> None:
        # Nothing of it is in the memory of a mesh without policies.
        from quilt_pods.enforcement import Enforcement

        self._enforcement = Enforcement(
            self._client,
            self._node,
            self._runtime,
            self.pods,
            self._metrics,
            claims=self._host.claims,
            enforcing=self._host.enforcing,
            reported=self._host.reported,
            named=self.endpoints.changed,
        )
        try:
            await self._enforcement.run()
        finally:
            self._enforcement = None
            self._host.reported()
            self._metrics.clear()

    def _uid(self, pod: PodName) -> str:
        return self._enforcement.uid(pod) if self._enforcement is not None else pod.uid

    def _wants_policies(self) -> bool | None:
        network = self._host.network()
        return None if network is None else network.policy.enabled

    def _wants_endpoints(self) -> bool | None:
        network = self._host.network()
        return None if network is None else network.publishes_endpoints
