"""Reading what an install depends on: versions, CRDs, other networks, Service ranges."""

from __future__ import annotations

from collections.abc import Mapping

from quilt_cli.api.read import snapshot, together
from quilt_cli.core.backup import KINDS
from quilt_cli.core.cluster_facts import ClusterFacts, ForeignNetwork
from quilt_cli.core.objects import at, text
from quilt_cli.core.snapshot import Snapshot
from quilt_crds.names import (
    DAEMONSET,
    NAMESPACE,
    NODE,
    NODE_DAEMONSET,
    QUILTENDPOINTS,
    QUILTPEERS,
    SERVICECIDR,
)
from quilt_crds.wire import Node
from quilt_kube.request import Json
from quilt_kube.sync import Client

_KINDS = (*KINDS, QUILTENDPOINTS, QUILTPEERS)
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_SERVICE_CIDRS = (SERVICECIDR.path(), "/apis/networking.k8s.io/v1beta1/servicecidrs")
_CNI_FOLDER = "/etc/cni/net.d"
_KNOWN = ("flannel", "calico-node", "cilium", "kindnet", "antrea-agent", "weave-net", "kube-router", "canal")


def cluster_facts(client: Client, namespace: str) -> ClusterFacts:
    """Read a cluster; `namespace` is where the release is, or will be. Raises UnreachableError."""
    results, _ = together(
        {
            "version": lambda: client.get("/version")["gitVersion"],
            "crds": lambda: definitions(client),
            "foreign": lambda: tuple(filter(None, map(_foreign, client.items(DAEMONSET.path())))),
            "services": lambda: _service_cidrs(client),
            "nodes": lambda: client.objects(NODE.path(), Node),
            "security": lambda: _pod_security(client, namespace),
            "mesh": lambda: snapshot(client),
        }
    )
    return ClusterFacts(
        version=str(results.get("version", "")),
        namespace=namespace,
        crds=served(results["crds"]) if "crds" in results else None,
        foreign=results.get("foreign"),
        service_cidrs=results.get("services"),
        nodes=results.get("nodes"),
        pod_security=results.get("security"),
        definitions=results.get("crds", {}),
        mesh=results.get("mesh", Snapshot(installed=False)),
    )


def definitions(client: Client) -> Mapping[str, Json]:
    """Our CRDs by their names, of those that exist."""
    reads = ((kind.crd_name, client.find(f"{_CRDS}/{kind.crd_name}")) for kind in _KINDS)
    return {name: raw for name, raw in reads if raw}


def served(definitions: Mapping[str, Json]) -> Mapping[str, tuple[str, ...]]:
    """The versions that each of them serves."""
    return {
        name: tuple(item["name"] for item in raw["spec"]["versions"] if item.get("served"))
        for name, raw in definitions.items()
    }


def _service_cidrs(client: Client) -> tuple[str, ...]:
    """Ranges of the ServiceCIDR objects, or the one known Service address where the API has none."""
    for path in _SERVICE_CIDRS:
        found = client.find(path)
        if found is not None:
            return tuple(cidr for item in found.get("items") or () for cidr in item["spec"].get("cidrs", ()))
    service = client.get("/api/v1/namespaces/default/services/kubernetes")
    return tuple(f"{address}/{128 if ':' in address else 32}" for address in service["spec"]["clusterIPs"])


def _pod_security(client: Client, namespace: str) -> str:
    found = client.find(NAMESPACE.path(namespace))
    return text(found, "metadata", "labels", "pod-security.kubernetes.io/enforce")


def _foreign(raw: Json) -> ForeignNetwork | None:
    name, namespace = raw["metadata"]["name"], raw["metadata"]["namespace"]
    if name == NODE_DAEMONSET:
        return None
    if any(known in name for known in _KNOWN):
        return ForeignNetwork(namespace, name, "is another pod network")
    volumes = at(raw, "spec", "template", "spec", "volumes") or []
    paths = [text(volume, "hostPath", "path") for volume in volumes]
    if any(path.rstrip("/") == _CNI_FOLDER for path in paths):
        return ForeignNetwork(namespace, name, f"mounts {_CNI_FOLDER} of the host")
    return None
