"""The first objects of a benchmark's API server, as requests that make them."""

from __future__ import annotations

from typing import Any

from bench import peers
from quilt_crds.names import DEFAULT_NETWORK, NODE, POD, QUILTNETWORK, QUILTSUBNET

NAMESPACE = "quilt-system"
ANYTHING = "default"
"""Service account of the chart's namespace that may do anything."""
Json = dict[str, Any]
Request = tuple[str, str, Json | None]


def first(address: str) -> list[Request]:
    """The network, the own node at an address, and the right to do anything."""
    network = {"clusterCIDRs": peers.CLUSTER_CIDRS}
    everything = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": ANYTHING, "namespace": NAMESPACE}],
    }
    return [
        ("POST", QUILTNETWORK.path(), QUILTNETWORK.document({"name": DEFAULT_NETWORK}, spec=network)),
        *node(peers.OWN_NODE, peers.OWN_SUBNET, address),
        (
            "POST",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            {"metadata": {"name": "bench"}, **everything},
        ),
    ]


def node(name: str, cidr: str, address: str) -> list[Request]:
    """A Node, the Pod to which its agent's token is bound, and its claim."""
    pod = {
        "nodeName": name,
        "serviceAccountName": "quilt-agent",
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "agent", "image": "none"}],
    }
    status = {"addresses": [{"type": "InternalIP", "address": address}]}
    return [
        ("POST", NODE.path(), NODE.document({"name": name}, status=status)),
        ("POST", POD.path(namespace=NAMESPACE), POD.document({"name": agent_pod(name)}, spec=pod)),
        ("POST", QUILTSUBNET.path(), peers.claim(cidr, name, address)),
    ]


def agent_pod(node: str) -> str:
    """The name of a node's Pod."""
    return f"agent-of-{node}"
