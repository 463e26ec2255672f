"""A node's pods between an API server and a runtime, both doubles; what policies are about, in few words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec
from prometheus_client import CollectorRegistry

from quilt_crds.names import SELECTOR_LABEL
from quilt_crds.wire_network import EndpointsSpec, PolicySpec, QuiltNetworkSpec
from quilt_crds.wire_policy import peers_name, peers_spec
from quilt_kube.access import Access
from quilt_kube.aio import Client
from quilt_pods.service import Host, NodePods
from quilt_policy.program import PodName
from quilt_policy.selectors import PeerSelector
from tests.support.agent_api import GROUP, FakeApi, Json
from tests.support.policy_double import FakePolicyRuntime

ENDPOINTS = f"{GROUP}/quiltendpoints"
PEERS = f"{GROUP}/quiltpeers"
PODS = "/api/v1/pods"
POLICIES = "/apis/networking.k8s.io/v1/networkpolicies"


@dataclass
class Scene:
    """`pods` is what is tested, of node `self`; `start` begins it, `network` is what it asks for."""

    api: FakeApi
    runtime: FakePolicyRuntime
    client: Client
    channel: grpc.aio.Channel
    network: QuiltNetworkSpec | None = None
    owner: Json | None = field(default_factory=lambda: {"kind": "Node", "name": "self"})
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    claims: list[Any] = field(default_factory=list)
    enforcing: bool = True
    reports: int = 0
    _task: asyncio.Task[None] | None = None

    def start(self, *, endpoints: bool = True, policies: bool = False) -> NodePods:
        """Start, as an agent of this node would."""
        host = Host(
            network=lambda: self.network,
            owner=lambda: self.owner,
            claims=lambda: self.claims,
            enforcing=lambda: self.enforcing,
            reported=self._reported,
        )
        self.pods = NodePods(self.client, "self", self.channel, self.registry, host)
        self._task = asyncio.create_task(self.pods.run())
        self.want(endpoints=endpoints, policies=policies)
        return self.pods

    def want(self, *, endpoints: bool = True, policies: bool = False) -> None:
        """Have the network ask for something."""
        self.network = QuiltNetworkSpec(endpoints=EndpointsSpec(endpoints), policy=PolicySpec(policies))
        self.pods.changed()

    async def stop(self) -> None:
        """Stop as SIGTERM does."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def gauge(self, name: str) -> float:
        """Value of one of the metrics."""
        value = self.registry.get_sample_value(f"quilt_policy_{name}")
        assert value is not None
        return value

    def published(self) -> dict[str, str] | None:
        """The addresses that are published, by names of pods; None for no object."""
        held = self.api.objects.get(ENDPOINTS, {}).get("self")
        return {one["name"]: one["address"] for one in held["spec"]["endpoints"]} if held else None

    def published_uids(self) -> set[str]:
        """The uids that are published."""
        held = self.api.objects.get(ENDPOINTS, {}).get("self", {"spec": {"endpoints": []}})
        return {one["uid"] for one in held["spec"]["endpoints"]}

    def _reported(self) -> None:
        self.reports += 1


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    """Both doubles, running."""
    api, runtime = FakeApi(), FakePolicyRuntime(folder)
    api.kinds |= {PODS, POLICIES}
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


def pod(of: str, namespace: str = "shop", **labels: str) -> Json:
    """A pod of this node; its labels, by default that it is called so."""
    meta = {"name": of, "namespace": namespace, "labels": labels or {"app": of}}
    return {"metadata": meta, "spec": {"nodeName": "self", "containers": [{"name": "c"}]}}


def policy(of: str, selects: Json, *, allows: Json | None = None, namespace: str = "shop") -> Json:
    """A policy that isolates for ingress, and allows pods with these labels of its namespace."""
    ingress = [{"from": [{"podSelector": {"matchLabels": allows}}]}] if allows else []
    spec = {"podSelector": {"matchLabels": selects}, "policyTypes": ["Ingress"], "ingress": ingress}
    return {"metadata": {"name": of, "namespace": namespace}, "spec": spec}


def selector(namespace: str = "shop", **labels: str) -> PeerSelector:
    """Whom a peer of a policy in the namespace selects by labels."""
    return PeerSelector(
        namespace=namespace, pods=tuple(sorted((key, "In", (value,)) for key, value in labels.items()))
    )


def peers(of: PeerSelector, *addresses: str, slices: int = 1, number: int = 0) -> Json:
    """A slice of the addresses behind a selector."""
    spec = peers_spec(slices, of.text, (int(IPv4Address(one)) for one in addresses))
    meta = {"name": peers_name(of.hash, number), "labels": {SELECTOR_LABEL: of.label}}
    return {"metadata": meta, "spec": msgspec.to_builtins(spec)}
