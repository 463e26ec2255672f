"""Reading what the answers are made of, all kinds at once, and none of them holding the others up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from quilt_cli.core import objects
from quilt_cli.core.objects import Workload
from quilt_cli.core.snapshot import Snapshot
from quilt_crds.names import (
    DEFAULT_NETWORK,
    NODE_DAEMONSET,
    OPERATOR_DEPLOYMENT,
    QUILTNETWORK,
    QUILTNODE,
    QUILTSUBNET,
)
from quilt_crds.wire import Node, QuiltNode, QuiltSubnet
from quilt_crds.wire_network import QuiltNetwork
from quilt_kube.listwatch import convert
from quilt_kube.request import ApiError, Json
from quilt_kube.sync import Client

_PODS = {"labelSelector": "app.kubernetes.io/name=quilt-mesh,app.kubernetes.io/component in (node,operator)"}


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
            "networks": lambda: client.items(QUILTNETWORK.path()),
            "quiltnodes": lambda: client.items(QUILTNODE.path()),
            "subnets": lambda: client.items(QUILTSUBNET.path()),
            "nodes": lambda: client.items("/api/v1/nodes"),
            "pods": lambda: client.items("/api/v1/pods", _PODS),
            "daemonsets": lambda: _named(client, "daemonsets", NODE_DAEMONSET),
            "deployments": lambda: _named(client, "deployments", OPERATOR_DEPLOYMENT),
        }
    )
    own = [refused[name] for name in ("networks", "quiltnodes", "subnets") if name in refused]
    installed = not any(error.missing for error in own)
    if installed and own:
        raise own[0]
    networks = [convert(raw, QuiltNetwork) for raw in results.get("networks", [])]
    return Snapshot(
        installed=installed,
        network=next((item for item in networks if item.name == DEFAULT_NETWORK), None),
        mesh_nodes=tuple(convert(raw, QuiltNode) for raw in results.get("quiltnodes", ())),
        subnets=tuple(convert(raw, QuiltSubnet) for raw in results.get("subnets", ())),
        kube_nodes=_all(results, "nodes", partial(convert, kind=Node)),
        pods=_all(results, "pods", objects.system_pod),
        agents=_workload("DaemonSet", results.get("daemonsets")),
        operator=_workload("Deployment", results.get("deployments")),
        unreadable={name: str(error) for name, error in refused.items() if error not in own},
    )


def _named(client: Client, plural: str, name: str) -> list[Json]:
    return client.items(f"/apis/apps/v1/{plural}", {"fieldSelector": f"metadata.name={name}"})


def _workload(kind: str, found: list[Json] | None) -> Workload | None:
    return objects.workload(kind, found[0]) if found else None


def _all(results: Mapping[str, Any], name: str, parse: Callable[[Json], Any]) -> Any:
    return tuple(map(parse, results[name])) if name in results else None
