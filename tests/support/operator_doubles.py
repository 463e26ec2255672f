"""The operator's view, claimer and reconciler over an API server in memory, the clock in the test's hand.

Every change is reported to the view as a watch would report it. A node is looked at when the view says so or
when its own time comes, never because a test asks for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest
from msgspec import to_builtins
from msgspec.structs import replace

from quilt_crds.names import NODE, QUILTNETWORK, QUILTNODE, QUILTSUBNET, Resource, claim_name
from quilt_crds.wire import Mesh, Meta, Node, QuiltSubnet, SubnetSpec, WireObject
from quilt_kube.request import ApiError
from quilt_operator import claiming, pacing, reconcile
from quilt_operator.api.client import Client
from quilt_operator.api.events import EventRecorder
from quilt_operator.core.health import Health
from quilt_operator.heartbeats import Heartbeats
from quilt_operator.reconcile import NodeReconciler
from quilt_operator.workqueue import Request
from quilt_operator.world import NODES, World

Json = dict[str, Any]


Given = TypeVar("Given", bound=WireObject)


def but(given: Given, part: str, **changes: Any) -> Given:
    """An object with other fields in its metadata, spec or status."""
    return replace(given, **{part: replace(getattr(given, part), **changes)})


def made_claim(cidr: str, node: str, mesh: Mesh, **meta: Any) -> QuiltSubnet:
    """A claim in the network `default`."""
    return QuiltSubnet(Meta(claim_name(cidr), **meta), SubnetSpec(cidr, "default", node), mesh)


class Api:
    """The few requests that the reconciler makes, answered from what the test put there."""

    def __init__(self) -> None:
        self.claims: dict[str, Json] = {}
        self.nodes: dict[str, Json] = {}
        self.hosts: dict[str, Json] = {}
        self.services: tuple[str, ...] = ()
        self.refused: dict[str, str] = {}
        self.posts = 0
        self._versions = itertools.count(1)

    def next(self) -> str:
        return str(next(self._versions))

    async def create_claim(self, claim: QuiltSubnet) -> Json:
        cidr, name = claim.cidr, claim.name
        self.posts += 1
        if cidr in self.refused:
            raise ApiError(422, self.refused[cidr], "Invalid")
        version = self.next()
        if name in self.claims:
            raise ApiError(409, "exists", "AlreadyExists")
        # Versions are seconds: of two claims the first is the older one.
        created = datetime.fromtimestamp(int(version), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        meta = {"name": name, "uid": f"uid-{version}", "resourceVersion": version}
        meta["creationTimestamp"] = created
        self.claims[name] = {"metadata": meta, "spec": to_builtins(claim.spec), "mesh": _wire(claim.mesh)}
        return self.claims[name]

    async def publish(self, claim: QuiltSubnet, mesh: Mesh) -> Json:
        held = self.claims[claim.name]
        meta = {**held["metadata"], "resourceVersion": self.next()}
        self.claims[claim.name] = {**held, "metadata": meta, "mesh": _wire(mesh)}
        return self.claims[claim.name]

    async def delete_claim(self, claim: QuiltSubnet) -> None:
        del self.claims[claim.name]

    async def find(self, path: str) -> Json | None:
        collections = {QUILTSUBNET: self.claims, QUILTNODE: self.nodes, NODE: self.hosts}
        folder, _, name = path.rpartition("/")
        return next(held for kind, held in collections.items() if kind.path() == folder).get(name)

    async def service_cidrs(self) -> tuple[str, ...]:
        return self.services

    async def apply_status(self, kind: Resource, name: str, uid: str, status: Mapping[str, Any]) -> Json:
        held = self.nodes[name]
        meta = {**held["metadata"], "resourceVersion": self.next()}
        # What an apply leaves out of its manager's conditions is removed.
        others = [
            c
            for c in held["status"].get("conditions", [])
            if c["type"] in ("DataplaneInSync", "RuntimeReady")
        ]
        conditions = [*others, *status["conditions"]]
        merged = {**held["status"], **status, "conditions": conditions}
        self.nodes[name] = {**held, "metadata": meta, "status": merged}
        return self.nodes[name]

    async def clear_network_unavailable(self, host: Node, now: str) -> Json:
        return self.hosts[host.name]


class Beats:
    """Verdicts as the test gives them; of a node that is new, the one that is known from before."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self._watched: set[str] = set()

    def health(self, name: str, *, down: bool = False, **_: object) -> Health:
        if down and name not in self._watched:
            self.down.add(name)
        self._watched.add(name)
        return Health(since=-1e9, down=name in self.down)

    def forget(self, name: str) -> None:
        self._watched.discard(name)


class Events:
    """Events that were published: (object, reason)."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str]] = []

    def note(self, about: Any, kind: str, reason: str, message: str) -> None:
        self.published.append((about.name, reason))


class Operator:
    """One operator and the cluster around it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **spec: Any) -> None:
        self.now = 1000.0
        clock = SimpleNamespace(monotonic=lambda: self.now)
        for module in (reconcile, pacing, claiming):
            monkeypatch.setattr(module, "time", clock, raising=False)
        self.api, self.beats, self.events = Api(), Beats(), Events()
        self._pending: dict[str, None] = {}
        self._due: dict[str, float] = {}
        self.world = World("default", self._look_at, lambda: None)
        client = cast(Client, self.api)
        self._reconciler = NodeReconciler(
            self.world, client, cast(Heartbeats, self.beats), cast(EventRecorder, self.events)
        )
        meta = {"name": "default", "uid": "network", "resourceVersion": self.api.next()}
        network = {"metadata": meta, "spec": {"clusterCIDRs": ["10.42.0.0/16"], **spec}}
        self.world.observe(QUILTNETWORK.plural, network)

    def _look_at(self, name: str) -> None:
        self._pending[name] = None

    def host(self, name: str, *addresses: str, pod_cidrs: tuple[str, ...] = ()) -> None:
        """The Node as its kubelet writes it."""
        listed = [{"type": "InternalIP", "address": address} for address in addresses]
        meta = {"name": name, "uid": f"node-{name}", "resourceVersion": self.api.next()}
        raw = {"metadata": meta, "spec": {"podCIDRs": [*pod_cidrs]}, "status": {"addresses": listed}}
        self.api.hosts[name] = raw
        self.world.observe(NODES, raw)

    def node(self, name: str, *, going: bool = False, spec: Json | None = None, **status: Any) -> None:
        """The QuiltNode, changed by its agent (status) or an administrator (spec)."""
        held = self.api.nodes.get(name, {"spec": {}, "status": {}})
        meta = {"name": name, "uid": f"quilt-{name}", "resourceVersion": self.api.next()}
        if going:
            meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        raw = {"metadata": meta, "spec": held["spec"] if spec is None else spec,
               "status": {**held["status"], **status}}  # fmt: skip
        self.api.nodes[name] = raw
        self.world.observe(QUILTNODE.plural, raw)

    def drop_node(self, name: str) -> None:
        """The QuiltNode is gone."""
        del self.api.nodes[name]
        self.world.forget(QUILTNODE.plural, name, int(self.api.next()))

    def drop_host(self, name: str) -> None:
        """The Node is gone."""
        del self.api.hosts[name]
        self.world.forget(NODES, name, int(self.api.next()))

    def verdict(self, name: str, *, down: bool) -> None:
        """The Leases of a node fell silent, or are renewed again."""
        (self.beats.down.add if down else self.beats.down.discard)(name)
        self._look_at(name)

    async def join(self, name: str, address: str, **status: Any) -> None:
        """A node as kubelet and agent make it known, served until nothing is left to do."""
        self.host(name, address)
        self.node(name, hostIP=address, **status)
        await self.work()

    async def work(self) -> None:
        """Do what waits."""
        while self._pending:
            name = next(iter(self._pending))
            del self._pending[name]
            later = await self._reconciler(Request("node", name))
            self._due.pop(name, None)
            if later is not None:
                self._due[name] = self.now + later

    async def wait(self, seconds: float) -> None:
        """Let time pass, and do what comes due."""
        end = self.now + seconds
        await self.work()
        while (due := min(self._due.values(), default=end)) < end:
            self.now = max(self.now, due)
            for name in [name for name, at in self._due.items() if at <= self.now]:
                del self._due[name]
                self._look_at(name)
            await self.work()
        self.now = end

    def claims(self) -> dict[str, tuple[str, str, str]]:
        """Claims by CIDR: node, phase, host address."""
        return {
            item["spec"]["cidr"]: (
                item["spec"]["node"],
                item["mesh"]["phase"],
                item["mesh"].get("hostIP", ""),
            )
            for item in self.api.claims.values()
        }

    def phases(self) -> dict[str, str]:
        """Phases of claims by CIDR."""
        return {cidr: phase for cidr, (_, phase, _) in self.claims().items()}

    def condition(self, name: str, kind: str) -> Json:
        """One condition of a QuiltNode, empty without."""
        found = self.api.nodes[name]["status"].get("conditions", [])
        return next((item for item in found if item["type"] == kind), {})


def _wire(mesh: Mesh) -> Json:
    fields = {"phase": mesh.phase, "hostIP": mesh.host_ip, "releasedAt": mesh.released_at}
    return {key: value for key, value in fields.items() if value}
