"""Reading what a sysdump is made of: objects, then nodes and logs side by side, each with a time-out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from quilt_cli.api.read import PODS
from quilt_cli.api.read_cluster import cluster_facts
from quilt_cli.api.read_node import check_node
from quilt_cli.api.read_nodes import NodePod, ask_one, no_answer, node_pod, node_pods, side_by_side
from quilt_cli.api.recorded import Recording
from quilt_cli.core import redaction
from quilt_cli.core.cluster_facts import ClusterFacts
from quilt_cli.core.objects import Raw, at, text
from quilt_cli.core.sysdump import CHECK, CHECKS, KERNEL, LATENCY, Part, cleaned_items, node_file
from quilt_crds.names import (
    CLUSTERNETWORKPOLICY,
    CONFIGMAP,
    DEFAULT_NETWORK,
    ENDPOINTSLICE,
    EVENT,
    KUBELET_LEASE_NAMESPACE,
    LEASE,
    LEASE_NAMESPACE,
    NAMESPACE,
    NETWORKPOLICY,
    OPERATOR_COMPONENT,
    OPERATOR_HEALTH_PORT,
    POD,
    QUILTENDPOINTS,
    QUILTNETWORK,
    QUILTNODE,
    QUILTPEERS,
    QUILTSUBNET,
    SERVICE,
)
from quilt_crds.wire_network import QuiltNetworkSpec
from quilt_kube.channels import CommandError
from quilt_kube.request import ApiError, Request, UnreachableError, read

_OURS = {"labelSelector": "app.kubernetes.io/name=quilt-mesh"}
_REGARDED = (QUILTNETWORK.kind, QUILTNODE.kind, QUILTSUBNET.kind, "Node")
# What `quiltctl trace` reads beside the mesh's own objects.
_TRACED = (POD, NAMESPACE, SERVICE, ENDPOINTSLICE, NETWORKPOLICY, CLUSTERNETWORKPOLICY)
# What a node tells, and the files that it becomes.
_FILES = {
    "kernel": KERNEL,
    "agent metrics": "agent-metrics.txt",
    "runtime metrics": "runtime-metrics.txt",
    "latency": LATENCY,
}
# Lines of logs; what is left of them is bounded in bytes.
_LINES = 20_000
_LOG_READ = 64 << 20
# The operator's image has no quiltctl.
_FETCH = (
    "import urllib.request as u;"
    "print(u.urlopen('http://127.0.0.1:{port}/metrics', timeout=5).read().decode(), end='')"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read: of these nodes alone (none: of all); at most so many bytes of a log, and in all."""

    nodes: frozenset[str]
    log_bytes: int
    bytes: int

    def has(self, node: str) -> bool:
        """Whether something of this node is to be read."""
        return not self.nodes or node in self.nodes


def read_objects(client: Recording, namespace: str) -> tuple[ClusterFacts, list[NodePod], list[Raw]]:
    """Read all objects, which the client keeps: facts of the cluster, pods on nodes, all pods of the mesh.

    Raises UnreachableError; what was refused the client has.
    """
    facts = cluster_facts(client, namespace)
    release = facts.mesh.release_namespace
    events = EVENT.path(namespace="default")
    questions = [
        (QUILTENDPOINTS.path(), None),
        (QUILTPEERS.path(), None),
        *((LEASE.path(namespace=name), None) for name in (LEASE_NAMESPACE, KUBELET_LEASE_NAMESPACE, release)),
        (CONFIGMAP.path(namespace=release), _OURS),
        (EVENT.path(namespace=release), None),
        *((events, {"fieldSelector": f"regarding.kind={kind}"}) for kind in _REGARDED),
        (EVENT.path(), {"fieldSelector": "reason=FailedCreatePodSandBox", "limit": "500"}),
        (QUILTNETWORK.path(DEFAULT_NETWORK), None),
    ]
    pods: list[NodePod] = []
    raws: list[Raw] = []
    # The client has the refusals.
    for path, query in questions:
        with suppress(ApiError):
            client.send(read(path, query))
    for kind in _TRACED:
        with suppress(ApiError):
            client.keep_list(kind.path(), cleaned_items)
    with suppress(ApiError):
        raws = [*client.items(POD.path(), PODS)]
    with suppress(ApiError):
        pods = node_pods(client)
    return facts, pods, raws


def read_parts(
    client: Recording,
    pods: Sequence[NodePod],
    raws: Iterable[Raw],
    wanted: Wanted,
    spec: QuiltNetworkSpec,
) -> Iterator[list[Part]]:
    """Read nodes, logs and the operator's metrics, side by side: parts of the archive, as they come.

    `spec` is what the network asks for, by which nodes are checked.
    """
    raws = [raw for raw in raws if wanted.has(text(raw, "spec", "nodeName"))]
    tasks: list[Callable[[], list[Part]]] = [
        *(partial(_node, client, pod, spec) for pod in pods if wanted.has(pod.node)),
        *(partial(_operator, client, raw) for raw in raws if _component(raw) == OPERATOR_COMPONENT),
        *(task for raw in raws for task in _logs(client, raw, wanted.log_bytes)),
    ]
    yield from side_by_side(lambda task: task(), tasks)


def _component(raw: Raw) -> str:
    return text(raw, "metadata", "labels", "app.kubernetes.io/component")


class _Report(msgspec.Struct):
    parts: dict[str, Any]
    missing: dict[str, str]


def _node(client: Recording, pod: NodePod, spec: QuiltNetworkSpec) -> list[Part]:
    """What a node tells of itself, and what is found on it."""
    about = f"Node {pod.node}"
    ports = (f"--agent-port={pod.agent_port}", f"--runtime-port={pod.runtime_port}")
    command = ("quiltctl", "node", "report", *ports, "--output=json")
    report, why = ask_one(client, pod, command, partial(msgspec.json.decode, type=_Report))
    missing = report.missing if report else dict.fromkeys(_FILES, why)
    found = []
    for what, name in _FILES.items():
        file = node_file(pod.node, name)
        if report and what in report.parts:
            part = report.parts[what]
            content = msgspec.json.encode(part) if what == "kernel" else redaction.text(part).encode()
            found.append(Part(about, what, file, content))
        else:
            found.append(Part(about, what, file, why=missing.get(what, "its quiltctl does not tell")))
    # Who did not answer would not do so to another question either, after as long a time.
    return [*found, _checks(client, pod, spec, why)]


def _checks(client: Recording, pod: NodePod, spec: QuiltNetworkSpec, silent: str) -> Part:
    part = Part(f"Node {pod.node}", CHECKS, node_file(pod.node, CHECK), why=silent)
    if silent:
        return part
    try:
        return replace(part, content=msgspec.json.encode(check_node(client, pod, spec)))
    except UnreachableError as error:
        return replace(part, why=no_answer(error))
    except (ApiError, CommandError) as error:
        return replace(part, why=str(error))


def _operator(client: Recording, raw: Raw) -> list[Part]:
    pod = replace(node_pod(raw), container="operator")
    ports = (port for one in at(raw, "spec", "containers") or () for port in one.get("ports") or ())
    port = next((int(one["containerPort"]) for one in ports), OPERATOR_HEALTH_PORT)
    content, why = ask_one(client, pod, ("python3", "-c", _FETCH.format(port=port)), bytes)
    name = f"pods/{pod.name}/metrics.txt"
    return [Part(f"Node {pod.node}", f"metrics of {pod.name}", name, content or b"", why)]


def _logs(client: Recording, raw: Raw, limit: int) -> Iterator[Callable[[], list[Part]]]:
    """Reads of the logs of each container that ran, and of the one before it."""
    kinds = ("initContainerStatuses", "containerStatuses")
    for status in (one for kind in kinds for one in at(raw, "status", kind) or ()):
        container = text(status, "name")
        if text(status, "containerID"):
            yield partial(_log, client, raw, container, limit, previous=False)
        if at(status, "lastState", "terminated"):
            yield partial(_log, client, raw, container, limit, previous=True)


def _log(client: Recording, raw: Raw, container: str, limit: int, *, previous: bool) -> list[Part]:
    namespace, name = text(raw, "metadata", "namespace"), text(raw, "metadata", "name")
    query = {"container": container, "tailLines": str(_LINES), "limitBytes": str(_LOG_READ)}
    query |= {"previous": "true"} if previous else {}
    about = f"Node {text(raw, 'spec', 'nodeName')}"
    what = f"{'previous ' if previous else ''}log of {name}/{container}"
    file = f"pods/{name}/{container}{'.previous' if previous else ''}.log"
    try:
        content = client.send(Request("GET", POD.path(name, "log", namespace=namespace), query, accept="*/*"))
    except UnreachableError as error:
        return [Part(about, what, file, why=no_answer(error))]
    except ApiError as error:
        return [Part(about, what, file, why=str(error))]
    return [Part(about, what, file, redaction.text(_last(content, limit).decode(errors="replace")).encode())]


def _last(content: bytes, limit: int) -> bytes:
    """The last lines of a log, of at most so many bytes."""
    if len(content) <= limit:
        return content
    return content[-limit:].partition(b"\n")[2]
