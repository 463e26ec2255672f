"""A mesh of two nodes as its API server and its nodes answer, to be archived: with secrets planted in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from quilt_cli.core.finding import fail, ok
from quilt_kube.channels import CommandError
from tests.support.cli_fakeapi import FakeApi
from tests.support.trace_kernels import SERVICE, SLICE, documents
from tests.support.trace_kernels import pod as traced_pod

SECRET = "planted-7f3a9c"
NODES = ("n1", "n2")
QUILT = "/apis/quilt.io/v1alpha1"
LISTS = (
    *(f"{QUILT}/quilt{kind}" for kind in ("networks", "nodes", "subnets", "endpoints", "peers")),
    "/apis/events.k8s.io/v1/events",
    "/apis/events.k8s.io/v1/namespaces/default/events",
    "/apis/events.k8s.io/v1/namespaces/q/events",
    "/apis/coordination.k8s.io/v1/namespaces/quilt-node-lease/leases",
    "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
    "/apis/coordination.k8s.io/v1/namespaces/q/leases",
    "/api/v1/namespaces/q/configmaps",
    "/apis/apps/v1/daemonsets",
    "/apis/apps/v1/deployments",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/api/v1/namespaces",
    "/api/v1/services",
    "/api/v1/nodes",
    "/api/v1/pods",
)
# What an API server calls these lists.
_KINDS = {
    "daemonsets": "DaemonSetList",
    "networkpolicies": "NetworkPolicyList",
    "endpointslices": "EndpointSliceList",
    "namespaces": "NamespaceList",
    "services": "ServiceList",
    "pods": "PodList",
}
_APPLIED = {"kubectl.kubernetes.io/last-applied-configuration": SECRET}
_MANAGED = [{"manager": SECRET}]
# Where people put what nobody else should read.
_PLANTED = {"annotations": {**_APPLIED, "note": SECRET}, "managedFields": _MANAGED}
_ENVIRONMENT = [{"name": "API_TOKEN", "value": SECRET}]


def system_pod(node: str) -> dict[str, Any]:
    """The mesh's pod on a node."""
    statuses: list[dict[str, Any]] = [
        {"name": name, "containerID": f"containerd://{name}", "state": {"running": {}}}
        for name in ("agent", "runtime")
    ]
    statuses[0]["lastState"] = {"terminated": {"exitCode": 1}}
    labels = {"app.kubernetes.io/name": "quilt-mesh", "app.kubernetes.io/component": "node"}
    metadata = {"namespace": "q", "name": f"quilt-mesh-{node}", "labels": labels}
    return {
        "metadata": {**metadata, "annotations": _APPLIED, "managedFields": _MANAGED},
        "spec": {"nodeName": node, "containers": [{"name": "agent", "env": _ENVIRONMENT}]},
        "status": {"containerStatuses": statuses, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def pod(number: int) -> dict[str, Any]:
    """Somebody's pod on a node, with a label that is named like a secret, and secrets in all other places."""
    found = traced_pod(number)
    labels = {"auth": f"kind-{number}"}
    container = {"name": "web", "args": [SECRET], "command": [SECRET], "env": _ENVIRONMENT}
    port = {"name": "http", "containerPort": 8080}
    return {
        "metadata": {**found["metadata"], "uid": f"uid-{number}", "labels": labels, **_PLANTED},
        "spec": {**found["spec"], "containers": [{**container, "ports": [port]}], "volumes": [{"x": SECRET}]},
        "status": {**found["status"], "message": SECRET},
    }


def quilt_node(name: str) -> dict[str, Any]:
    """A QuiltNode that is well."""
    conditions = [{"type": "Ready", "status": "True"}, {"type": "DataplaneInSync", "status": "True"}]
    number = name.removeprefix("n")
    held = {"hostIP": f"192.0.2.{number}", "subnets": [f"10.42.{number}.0/24"]}
    return {"metadata": {"name": name}, "status": {"phase": "Up", "conditions": conditions, **held}}


def _claim(number: int) -> dict[str, Any]:
    return {
        "metadata": {"name": f"10.42.{number}.0-24"},
        "spec": {"cidr": f"10.42.{number}.0/24", "network": "default", "node": f"n{number}"},
        "mesh": {"phase": "Up", "hostIP": f"192.0.2.{number}"},
    }


def _endpoints(number: int) -> dict[str, Any]:
    where = {"uid": f"uid-{number}", "namespace": "default", "name": f"pod{number}"}
    spec = {"node": f"n{number}", "pods": 1, "endpoints": [{**where, "address": f"10.42.{number}.5"}]}
    return {"metadata": {"name": f"n{number}"}, "spec": spec}


def _planted(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], **_PLANTED}, "other": SECRET}


def fill(api: FakeApi) -> None:
    """Have an API server answer of this mesh."""
    network = {"metadata": {"name": "default"}, "spec": {}}
    own = [system_pod(name) for name in NODES]
    held: dict[str, list[Any]] = {path: [] for path in LISTS}
    held |= {
        f"{QUILT}/quiltnetworks": [network],
        f"{QUILT}/quiltnodes": [quilt_node(name) for name in NODES],
        f"{QUILT}/quiltsubnets": [_claim(number) for number in (1, 2)],
        f"{QUILT}/quiltendpoints": [_endpoints(number) for number in (1, 2)],
        "/api/v1/nodes": [{"metadata": {"name": name}} for name in NODES],
        "/api/v1/pods": [*own, pod(1), pod(2)],
        "/api/v1/services": [_planted(SERVICE)],
        "/apis/discovery.k8s.io/v1/endpointslices": [_planted(SLICE)],
        "/api/v1/namespaces": [_planted({"metadata": {"name": "default"}})],
        "/apis/apps/v1/daemonsets": [
            {"metadata": {"name": "quilt-mesh", "namespace": "q"}, "spec": {}},
            _planted({"metadata": {"name": "other", "namespace": "o"}}),
        ],
    }
    for path, items in held.items():
        put(api, path, items)
    api.selected["/api/v1/pods"] = (200, {"kind": "PodList", "items": own})
    api.answers[f"{QUILT}/quiltnetworks/default"] = (200, network)
    api.answers["/version"] = (200, {"gitVersion": "v1.36.0"})
    for name in NODES:
        api.answers[f"/api/v1/namespaces/q/pods/quilt-mesh-{name}/log"] = (200, f"token={SECRET}\n" * 3)


def put(api: FakeApi, path: str, items: Sequence[Any]) -> None:
    """Have a collection hold these objects."""
    api.answers[path] = (200, {"kind": _KINDS.get(path.rpartition("/")[2], "List"), "items": [*items]})


class Nodes:
    """What commands in the nodes' containers answer; `given` says of a pod what else its report is."""

    def __init__(self) -> None:
        self.given: dict[str, Exception | dict[str, Any]] = {}
        self.kernels = documents()

    def execute(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        within: float | None = None,
    ) -> bytes:
        """As `Client.execute`."""
        node = pod.removeprefix("quilt-mesh-")
        given = self.given.get(pod)
        if isinstance(given, Exception):
            raise given
        match command[1:3]:
            case ["latency", _]:
                return self._measured(node)
            case ["check", "node"]:
                return _checked(node)
            case ["node", "dump"]:
                return json.dumps(self.kernels[node]).encode()
        return json.dumps(given or {"parts": self._parts(node), "missing": {}}).encode()

    def _parts(self, node: str) -> dict[str, Any]:
        metrics = {f"{name} metrics": "metric 1\n" for name in ("agent", "runtime")}
        return {"kernel": self.kernels[node], "latency": self._measured(node).decode(), **metrics}

    def _measured(self, node: str) -> bytes:
        peers = [{"node": other, "inward": "ok"} for other in NODES if other != node]
        return json.dumps({"node": node, "peers": peers}).encode()


def _checked(node: str) -> bytes:
    """Nothing is wrong with the first node; who finds something ends with 1 and answers all the same."""
    about = f"node {node}"
    found = [ok("mtu", about, "1500")]
    found += [fail("port-taken", about, "UDP 4789 is taken by a program", "ss -ulpn")] if node != "n1" else []
    answer = msgspec.json.encode({"kind": "QuiltCheck", "findings": found})
    if node != "n1":
        raise CommandError("command terminated with exit code 1", answer)
    return answer
