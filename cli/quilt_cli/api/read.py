"""Reading what the answers are made of, all kinds at once, and none of them holding the others up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from quilt_cli.core.objects import Workload, system_pod, workload
from quilt_cli.core.snapshot import Snapshot
from quilt_crds.names import (
    DAEMONSET,
    DEPLOYMENT,
    NODE,
    NODE_DAEMONSET,
    OPERATOR_DEPLOYMENT,
    POD,
    QUILTNETWORK,
    QUILTNODE,
    QUILTSUBNET,
    Resource,
)
from quilt_crds.wire import Node, QuiltNode, QuiltSubnet
from quilt_crds.wire_network import QuiltNetwork
from quilt_kube.request import ApiError
from quilt_kube.sync import Client

PODS = {"labelSelector": "app.kubernetes.io/name=quilt-mesh,app.kubernetes.io/component in (node,operator)"}
"""What asks for the mesh's pods alone."""


def together(reads: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, ApiError]]:
    """Results by name, and the refusals by name; an unreachable API server raises UnreachableError."""
    with ThreadPoolExecutor(max_workers=max(len(reads), 1)) as pool:
        futures: dict[str, Future[Any]] = {name: pool.submit(read) for name, read in reads.items()}
        results, refused = {}, {}
        for name, future in futures.items():
            try:
                results[name] = future.result()
            except ApiError as error:
                refused[name] = error
    return results, refused


def snapshot(client: Client) -> Snapshot:
    """Read all that `quiltctl status` needs; raises UnreachableError, and ApiError for our own kinds."""
    results, refused = together(
        {
            "networks": lambda: client.objects(QUILTNETWORK.path(), QuiltNetwork),
            "quiltnodes": lambda: client.objects(QUILTNODE.path(), QuiltNode),
            "subnets": lambda: client.objects(QUILTSUBNET.path(), QuiltSubnet),
            "nodes": lambda: client.objects(NODE.path(), Node),
            "pods": lambda: tuple(map(system_pod, client.items(POD.path(), PODS))),
            "daemonsets": lambda: workloads(client, DAEMONSET, NODE_DAEMONSET),
            "deployments": lambda: workloads(client, DEPLOYMENT, OPERATOR_DEPLOYMENT),
        }
    )
    own = [refused[name] for name in ("networks", "quiltnodes", "subnets") if name in refused]
    installed = not any(error.missing for error in own)
    if installed and own:
        raise own[0]
    unreadable = {name: str(error) for name, error in refused.items() if error not in own}
    return Snapshot.of(installed, results, unreadable)


def workloads(client: Client, kind: Resource, name: str) -> list[Workload]:
    """Read the DaemonSets or Deployments of a name, in whatever namespace they are."""
    found = client.items(kind.path(), {"fieldSelector": f"metadata.name={name}"})
    return [workload(kind.kind, raw) for raw in found]
