"""Asking nodes: a command in a container of each node's pod, side by side, each with a time-out.

What a node does not answer is a sentence that says why: a node that is dead is part of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from quilt_cli.api.recorded import NotKeptError
from quilt_cli.core.objects import Raw, at, system_pod, text
from quilt_crds.names import AGENT_HEALTH_PORT, NODE_COMPONENT, POD, RUNTIME_HEALTH_PORT
from quilt_kube.channels import CommandError
from quilt_kube.request import ApiError, UnreachableError
from quilt_kube.sync import Client

T = TypeVar("T")

_PODS = {"labelSelector": f"app.kubernetes.io/name=quilt-mesh,app.kubernetes.io/component={NODE_COMPONENT}"}
# Each is a process on its node, and a connection and a thread here.
AT_ONCE = 16
# Seconds for a node: about one for its command, and more until it begins where the node is busy.
WITHIN = 30.0
# Both are of one image and on the host's network; the first that runs is asked.
_CONTAINERS = ("agent", "runtime")


@dataclass(frozen=True, slots=True)
class NodePod:
    """A node's pod of the mesh; `container` is the one to ask, empty where none runs, `trouble` says why."""

    node: str
    namespace: str
    name: str
    container: str
    agent_port: int = AGENT_HEALTH_PORT
    runtime_port: int = RUNTIME_HEALTH_PORT
    trouble: str = ""


def node_pods(client: Client) -> list[NodePod]:
    """The mesh's pods on nodes, sorted by node. Raises ApiError and UnreachableError."""
    found = (node_pod(raw) for raw in client.items(POD.path(), _PODS))
    return sorted((pod for pod in found if pod.node), key=lambda pod: (pod.node, pod.name))


def node_pod(raw: Raw) -> NodePod:
    """Read what asking needs of a Pod."""
    statuses = at(raw, "status", "containerStatuses") or ()
    running = {text(item, "name") for item in statuses if at(item, "state", "running") is not None}
    ports = {
        port.get("name"): int(port["containerPort"])
        for container in at(raw, "spec", "containers") or ()
        for port in container.get("ports") or ()
    }
    return NodePod(
        node=text(raw, "spec", "nodeName"),
        namespace=text(raw, "metadata", "namespace"),
        name=text(raw, "metadata", "name"),
        container=next((name for name in _CONTAINERS if name in running), ""),
        agent_port=ports.get("agent-http", AGENT_HEALTH_PORT),
        runtime_port=ports.get("runtime-http", RUNTIME_HEALTH_PORT),
        trouble=system_pod(raw).trouble,
    )


def ask(
    client: Client,
    pods: Sequence[NodePod],
    command: Callable[[NodePod], Sequence[str]],
    read: Callable[[bytes], T],
    *,
    within: float = WITHIN,
) -> tuple[dict[str, T], dict[str, str]]:
    """Run a command in a pod of each node and `read` its output (ValueError: it is something else).

    Return by node what was read, or why nothing was.
    """

    def one(pod: NodePod) -> tuple[str, T | None, str]:
        return pod.node, *ask_one(client, pod, command(pod), read, within=within)

    found: dict[str, T] = {}
    silent: dict[str, str] = {}
    for node, answer, why in side_by_side(one, pods):
        if answer is None:
            silent[node] = why
        else:
            found[node] = answer
    return found, silent


def ask_one(
    client: Client,
    pod: NodePod,
    command: Sequence[str],
    read: Callable[[bytes], T],
    *,
    within: float = WITHIN,
) -> tuple[T | None, str]:
    """Ask one node: what was read of its answer, or None and why not."""
    if not pod.container:
        return None, f"no container of pod {pod.name} runs ({pod.trouble or 'no status'})"
    try:
        return read(client.execute(pod.namespace, pod.name, pod.container, command, within=within)), ""
    except NotKeptError:
        return None, f"{pod.node} is not in the archive"
    except UnreachableError as error:
        return None, no_answer(error)
    except (ApiError, CommandError, ValueError) as error:
        return None, str(error)


def no_answer(error: UnreachableError) -> str:
    """Why a node is silent: it is asked through the API server, of which the error speaks."""
    return f"the node gave no answer: {error}"


def side_by_side(one: Callable[[Any], T], of: Iterable[Any]) -> Iterator[T]:
    """What a function returns for each of many, as they end, AT_ONCE of them at a time; it does not raise."""
    pool = ThreadPoolExecutor(max_workers=AT_ONCE)
    try:
        # What was yielded is held by nobody: an answer may be megabytes.
        for future in as_completed([pool.submit(one, each) for each in of]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def read_dumps(
    client: Client, pods: Sequence[NodePod], *, within: float = WITHIN
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Read what `quiltctl node dump` answers: documents by node, and by node why it gave no document."""
    return ask(client, pods, _dump, _document, within=within)


def _dump(_: NodePod) -> Sequence[str]:
    return "quiltctl", "node", "dump", "--output=json"


def _document(answer: bytes) -> dict[str, Any]:
    return msgspec.json.decode(answer, type=dict[str, Any])
