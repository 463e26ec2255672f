"""Reading what network policies depend on."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from quilt_cli.api.read import together
from quilt_cli.api.read_nodes import NodePod, ask, node_pods
from quilt_cli.core.policies import ClusterPolicy, world
from quilt_cli.core.rule_counters import Counters, counters
from quilt_crds.names import (
    CLUSTERNETWORKPOLICY,
    DEFAULT_NETWORK,
    NAMESPACE,
    NETWORKPOLICY,
    NODE,
    POD,
    QUILTENDPOINTS,
    QUILTNETWORK,
    QUILTNODE,
)
from quilt_crds.wire import QuiltNode
from quilt_crds.wire_network import QuiltNetworkSpec
from quilt_crds.wire_policy import QuiltEndpoints
from quilt_kube.sync import Client
from quilt_policy.objects import Namespace, NetworkPolicy, Node, Pod
from quilt_policy.verdicts import World

_CLUSTER_POLICIES = "clusternetworkpolicies"


def policies(client: Client) -> tuple[World, tuple[ClusterPolicy, ...], bool]:
    """Return the world, its cluster policies with their status, and whether policies are enforced.

    Raises ApiError; a cluster without the CRD of ClusterNetworkPolicies has none.
    """
    found, refused = together(
        {
            "endpoints": lambda: client.objects(QUILTENDPOINTS.path(), QuiltEndpoints),
            "pods": lambda: client.objects(POD.path(), Pod),
            "namespaces": lambda: client.objects(NAMESPACE.path(), Namespace),
            "policies": lambda: client.objects(NETWORKPOLICY.path(), NetworkPolicy),
            _CLUSTER_POLICIES: lambda: client.objects(CLUSTERNETWORKPOLICY.path(), ClusterPolicy),
            "nodes": lambda: client.objects(NODE.path(), Node),
            "quiltnodes": lambda: client.objects(QUILTNODE.path(), QuiltNode),
            "network": lambda: client.find(QUILTNETWORK.path(DEFAULT_NETWORK)),
        }
    )
    for name, error in refused.items():
        if not (name == _CLUSTER_POLICIES and error.missing):
            raise error
    cluster = found.get(_CLUSTER_POLICIES, ())
    nodes = (found["nodes"], found["quiltnodes"])
    spec = QuiltNetworkSpec.read((found["network"] or {}).get("spec") or {})
    about = world(found["endpoints"], found["pods"], found["namespaces"], found["policies"], cluster, nodes)
    return about, cluster, spec.policy.enabled


def rule_counters(client: Client, nodes: Collection[str]) -> tuple[dict[str, Counters], dict[str, str]]:
    """Return what the kernels of `nodes` count of policies, and by node why it is not known.

    Raises ApiError and UnreachableError where the mesh's pods cannot be listed.
    """
    pods = [pod for pod in node_pods(client) if pod.node in nodes] if nodes else []
    return ask(client, pods, _list_table, counters)


def _list_table(_: NodePod) -> Sequence[str]:
    # Terse: sets may have thousands of addresses.
    return "nft", "--terse", "--json", "list", "table", "inet", "quilt-policy"
