"""Policies on a cluster: switched on and off, a pod that serves and those that ask it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from quilt_crds.names import NETWORKPOLICY
from quilt_devcluster import DevclusterError
from quilt_runtime.core.policy import FAMILY, TABLE
from tests.support.conversations import Line
from tests.support.mesh import CHART, NAMESPACE, Mesh, Pod, pod_manifest, until
from tests.support.traffic import PORT_ECHO, PORT_HTTP

SERVICE = "policy-web"
WAYS = ("tcp", "udp")


@dataclass(frozen=True)
class Site:
    """A pod that serves on the first node, also as a Service; clients beside it and on the second node."""

    web: Pod
    near: Pod
    far: Pod
    other: Pod
    service: str

    @property
    def clients(self) -> tuple[Pod, ...]:
        return self.near, self.far, self.other

    def lines(self, *clients: Pod, ways: tuple[str, ...] = WAYS) -> list[Line]:
        """Conversations with the server by its own address and by the Service's."""
        addresses = (self.web.ip, self.service)
        return [Line(one, way, address) for one in clients for way in ways for address in addresses]


@contextmanager
def site(mesh: Mesh) -> Iterator[Site]:
    """Pods policy-web and policy-near on the first node, policy-far and policy-other on the second."""
    first, second = mesh.nodes()[:2]
    placed = {"web": first, "near": first, "far": second, "other": second}
    names = {name: f"policy-{name}" for name in placed}
    mesh.apply(*(pod_manifest(names[name], node, {"app": names[name]}) for name, node in placed.items()))
    ports = [(PORT_HTTP, "TCP"), (PORT_ECHO, "TCP"), (PORT_ECHO, "UDP")]
    listed = [{"name": f"p{at}", "port": port, "protocol": name} for at, (port, name) in enumerate(ports)]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE}}
    mesh.apply(service | {"spec": {"selector": {"app": names["web"]}, "ports": listed}})
    try:
        pods = {name: mesh.running(names[name]) for name in placed}
        made = Site(**pods, service=mesh.get("service", SERVICE)["spec"]["clusterIP"])
        for client in made.clients:
            until(f"the Service answers {client.name}", partial(_serves, mesh, client, made), timeout=60)
        yield made
    finally:
        mesh.kubectl("delete", "service", SERVICE)
        mesh.delete_pods(*names.values())


def _serves(mesh: Mesh, client: Pod, of: Site) -> bool:
    return mesh.http(client, of.service) == of.web.name


def upgrade(mesh: Mesh, *, enforced: bool) -> None:
    """`helm upgrade` to a mesh with policies, or without, until that is so on every node."""
    value = f"network.policy.enabled={str(enforced).lower()}"
    mesh.cluster.helm(
        "upgrade", "quilt", str(CHART), "-n", NAMESPACE, "--reset-then-reuse-values", "--set", value
    )
    what, done = ("enforces policies", _enforces) if enforced else ("has no table of policies", _is_clean)
    for node in mesh.nodes():
        until(f"{node} {what}", partial(done, mesh, node), timeout=120)


def _enforces(mesh: Mesh, node: str) -> bool:
    return gauge(mesh, node, "enforced") == 1


def _is_clean(mesh: Mesh, node: str) -> bool:
    return not table(mesh, node)


def gauge(mesh: Mesh, node: str, name: str) -> float:
    """A metric of the agent's about policies."""
    return mesh.metric(node, f"quilt_policy_{name}")


def table(mesh: Mesh, node: str) -> str:
    """The node's table of policies, or nothing."""
    return mesh.on(node, "nft", "list", "table", FAMILY, TABLE, check=False)


@contextmanager
def policy(mesh: Mesh, name: str, **spec: Any) -> Iterator[None]:
    """A NetworkPolicy of the namespace default, while the block runs."""
    mesh.apply(NETWORKPOLICY.document({"name": name, "namespace": "default"}, spec=spec))
    try:
        yield
    finally:
        mesh.kubectl("delete", "networkpolicy", name, "--ignore-not-found")


def selecting(pod: Pod) -> dict[str, Any]:
    """The selector of one pod."""
    return {"matchLabels": {"app": pod.name}}


def answered(mesh: Mesh, source: Pod, target: Pod) -> bool:
    """Whether a pod gets an answer from another one now."""
    try:
        return mesh.http(source, target.ip, timeout=1) == target.name
    except DevclusterError:
        return False


def everybody_but(pod: Pod) -> dict[str, Any]:
    """The peer that is every pod of the namespace but one."""
    return _peer("NotIn", pod)


def these(*pods: Pod) -> dict[str, Any]:
    """The peer that is some pods."""
    return _peer("In", *pods)


def _peer(operator: str, *pods: Pod) -> dict[str, Any]:
    expression = {"key": "app", "operator": operator, "values": [pod.name for pod in pods]}
    return {"podSelector": {"matchExpressions": [expression]}}
