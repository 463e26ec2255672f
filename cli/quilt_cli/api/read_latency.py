"""Reading what the nodes' probes measured: by the agent's container on each node, side by side."""

from __future__ import annotations

from collections.abc import Container, Sequence

from quilt_cli.api.read_nodes import NodePod, ask, node_pods
from quilt_cli.core.finding import CannotTellError
from quilt_cli.core.latency import Measured, measured
from quilt_kube.sync import Client


def read_latency(
    client: Client, among: Container[str] | None = None
) -> tuple[list[Measured], dict[str, str]]:
    """Return what nodes measured, and by node why it is not known; only `among` these nodes, if given.

    Raises ApiError, UnreachableError.
    """
    pods = [pod for pod in node_pods(client) if among is None or pod.node in among]
    if not pods:
        raise CannotTellError("no quilt-mesh pod is in this cluster")
    found, silent = ask(client, pods, _command, measured)
    return sorted(found.values(), key=lambda item: item.node), silent


def _command(pod: NodePod) -> Sequence[str]:
    return "quiltctl", "latency", "--here", f"--port={pod.agent_port}", "--output=json"
