"""What can be wrong with the mesh as a whole: the network, the operator, the claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_network

from quilt_cli.core.finding import Finding, fail, warn
from quilt_cli.core.snapshot import Snapshot
from quilt_crds.names import (
    AGENTS_RESPONSIVE,
    CLAIMS_CONSISTENT,
    DEFAULT_NETWORK,
    NETWORK_ACCEPTED,
    NODE_DAEMONSET,
    OPERATOR_COMPONENT,
    PODS_FIT,
    RELEASING,
    SUBNET_IN_USE,
    SUBNETS_AVAILABLE,
    WITHDRAWAL_PAUSED,
)
from quilt_crds.wire_network import QuiltNetworkSpec

_DESCRIBE = f"kubectl describe quiltnetwork {DEFAULT_NETWORK}"
# Of the last free subnets, below which share to say so.
_FEW = 0.1


def of(snapshot: Snapshot) -> list[Finding]:
    """All findings about the mesh as a whole."""
    if not snapshot.installed:
        install = "helm install quilt helm/quilt-mesh -n quilt-system --create-namespace"
        return [fail("not-installed", "cluster", "the API server knows no quilt.io kinds", install)]
    return [*_agents(snapshot), *_operator(snapshot), *_network(snapshot), *_claims(snapshot)]


def _agents(snapshot: Snapshot) -> Iterator[Finding]:
    if snapshot.agents is None and "daemonsets" not in snapshot.unreadable:
        message = "not found in this cluster: what is shown of nodes is their last reported state"
        todo = f"helm status quilt -n {snapshot.release_namespace}"
        yield fail("agents-absent", f"DaemonSet {NODE_DAEMONSET}", message, todo)


def _operator(snapshot: Snapshot) -> Iterator[Finding]:
    namespace = snapshot.release_namespace
    if snapshot.operator is None:
        if "deployments" not in snapshot.unreadable:
            todo = f"helm status quilt -n {namespace}"
            yield fail("operator-absent", "Deployment quilt-operator", "not found in this cluster", todo)
        return
    if snapshot.operator.ready:
        return
    troubles = [
        f"{pod.name}: {pod.trouble}"
        for pod in snapshot.pods or ()
        if pod.component == OPERATOR_COMPONENT and pod.trouble
    ]
    message = "no replica is ready: nobody assigns subnets or judges heartbeats; traffic continues"
    yield fail(
        "operator-not-ready",
        snapshot.operator.about,
        f"{message}. {'; '.join(troubles)}".rstrip(". "),
        f"kubectl -n {namespace} describe pods -l app.kubernetes.io/component={OPERATOR_COMPONENT}",
    )


def _network(snapshot: Snapshot) -> Iterator[Finding]:
    network = snapshot.network
    about = f"QuiltNetwork {DEFAULT_NETWORK}"
    if network is None:
        todo = f"kubectl -n {snapshot.release_namespace} logs deploy/quilt-operator"
        yield fail("network-absent", about, "it does not exist; the operator creates it", todo)
        return
    extend = _extend(snapshot.spec)
    for type_, good, code, judge, todo in (
        (NETWORK_ACCEPTED, "True", "network-not-accepted", fail, _DESCRIBE),
        (SUBNETS_AVAILABLE, "True", "subnets-exhausted", fail, extend),
        (CLAIMS_CONSISTENT, "True", "claims-inconsistent", fail, "kubectl get quiltsubnets -o wide"),
        (WITHDRAWAL_PAUSED, "False", "withdrawal-paused", warn, _DESCRIBE),
        (AGENTS_RESPONSIVE, "True", "agents-silent", warn, _DESCRIBE),
        (PODS_FIT, "True", "pods-do-not-fit", warn, "set maxPods in the configuration of these kubelets"),
    ):
        held = network.condition(type_)
        if held is not None and held.status not in {good, "Unknown"}:
            yield judge(code, about, held.text, todo)
    total, free = network.status.subnets.total, network.status.subnets.free
    if total and 0 < free < total * _FEW:
        yield warn("subnets-few", about, f"only {free} of {total} subnets are free for new nodes", extend)


def _extend(spec: QuiltNetworkSpec) -> str:
    have = ", ".join(f'"{cidr}"' for cidr in spec.cidrs if ":" not in cidr)
    patch = f'{{"spec":{{"clusterCIDRs":[{have},"NEW"]}}}}'
    return f"kubectl patch quiltnetwork {DEFAULT_NETWORK} --type merge -p '{patch}'"


def _claims(snapshot: Snapshot) -> Iterator[Finding]:
    owners: Counter[tuple[str, int]] = Counter()
    for item in snapshot.subnets:
        if item.mesh.phase != RELEASING and item.spec.cidr:
            owners[item.spec.node, ip_network(item.spec.cidr, strict=False).version] += 1
    moving = {node.name for node in snapshot.mesh_nodes if node.has(SUBNET_IN_USE)}
    for (node, version), count in sorted(owners.items()):
        if count > 1 and node not in moving:
            mine = ", ".join(item.name for item in snapshot.subnets if item.spec.node == node)
            yield warn(
                "claims-several",
                f"QuiltNode {node}",
                f"it holds {count} IPv{version} subnets ({mine}) and can use only one",
                f"kubectl describe quiltnode {node}",
            )
    nodes = {item.name for item in snapshot.mesh_nodes}
    for item in snapshot.subnets:
        if item.spec.node not in nodes and item.mesh.phase != RELEASING:
            yield warn(
                "claim-orphaned",
                f"QuiltSubnet {item.name}",
                f"its node {item.spec.node} has no QuiltNode; it stays while its Node exists",
                f"kubectl -n {snapshot.release_namespace} logs deploy/quilt-operator",
            )
