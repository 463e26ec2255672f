"""Reading what network policies depend on."""

from __future__ import annotations

from quilt_cli.api.read import together
from quilt_cli.core.policies import ClusterPolicy, world
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
from quilt_crds.wire_network import network_spec
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
    spec = network_spec((found["network"] or {}).get("spec") or {})
    about = world(found["endpoints"], found["pods"], found["namespaces"], found["policies"], cluster, nodes)
    return about, cluster, spec.policy.enabled
