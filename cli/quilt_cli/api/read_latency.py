"""Reading what the nodes' probes measured: by the agent's container on each node, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from quilt_cli.core.finding import CannotTellError
from quilt_cli.core.latency import Measured, measured
from quilt_cli.core.objects import at, text
from quilt_crds.names import AGENT_HEALTH_PORT, NODE_COMPONENT, POD
from quilt_kube.channels import CommandError
from quilt_kube.request import ApiError, UnreachableError
from quilt_kube.sync import Client

_PODS = {"labelSelector": f"app.kubernetes.io/name=quilt-mesh,app.kubernetes.io/component={NODE_COMPONENT}"}
# Each is a process on its node and a connection here.
_AT_ONCE = 32
CONTAINER = "agent"


def read_latency(client: Client) -> tuple[list[Measured], dict[str, str]]:
    """Return what nodes measured, and by node why it is not known. Raises ApiError, UnreachableError."""
    pods = client.items(POD.path(), _PODS)
    if not pods:
        raise CannotTellError("no quilt-mesh pod is in this cluster")
    found: list[Measured] = []
    silent: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(pods))) as pool:
        for pod, answer in zip(pods, pool.map(lambda pod: _ask(client, pod), pods), strict=True):
            if isinstance(answer, Measured):
                found.append(answer)
            else:
                silent[text(pod, "spec", "nodeName")] = answer
    return found, silent


def _ask(client: Client, pod: Mapping[str, Any]) -> Measured | str:
    """Return what a node measured, or why that is not known."""
    command = ["quiltctl", "latency", "--here", f"--port={_port(pod)}", "--output=json"]
    namespace, name = text(pod, "metadata", "namespace"), text(pod, "metadata", "name")
    try:
        return measured(client.execute(namespace, name, CONTAINER, command))
    except (ApiError, UnreachableError, CommandError, ValueError) as error:
        return str(error)


def _port(pod: Mapping[str, Any]) -> int:
    """Return the port of the agent's metrics."""
    for container in at(pod, "spec", "containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == "agent-http":
                return int(port["containerPort"])
    return AGENT_HEALTH_PORT
