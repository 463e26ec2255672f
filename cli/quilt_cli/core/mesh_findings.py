"""What can be wrong with the mesh, its network, operator and claims, and with a node of it.

Of several symptoms of one cause only the cause is reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from quilt_cli.core.finding import Finding, fail, warn
from quilt_cli.core.objects import SystemPod
from quilt_cli.core.snapshot import Snapshot
from quilt_crds.names import (
    AGENT_UNRESPONSIVE,
    AGENTS_RESPONSIVE,
    CLAIM_LOST,
    CLAIMS_CONSISTENT,
    DATAPLANE_IN_SYNC,
    DEFAULT_NETWORK,
    DOWN,
    NETWORK_ACCEPTED,
    NODE_DAEMONSET,
    OPERATOR_COMPONENT,
    PEERS_REACHABLE,
    PENDING,
    PODS_FIT,
    READY,
    RELEASING,
    RUNTIME_READY,
    SUBNET_ALLOCATED,
    SUBNET_IN_USE,
    SUBNETS_AVAILABLE,
    UP,
    WITHDRAWAL_PAUSED,
)
from quilt_crds.wire import QuiltNode
from quilt_crds.wire_network import QuiltNetworkSpec

_DESCRIBE = f"kubectl describe quiltnetwork {DEFAULT_NETWORK}"
# Of the last free subnets, below which share to say so.
_FEW = 0.1
# Nodes that are named for paths that fail.
_NAMED = 3


def of(snapshot: Snapshot) -> list[Finding]:
    """All findings: about the mesh as a whole, then by node."""
    if not snapshot.installed:
        install = "helm install quilt helm/quilt-mesh -n quilt-system --create-namespace"
        return [fail("not-installed", "cluster", "the API server knows no quilt.io kinds", install)]
    return [
        *_agents(snapshot),
        *_operator(snapshot),
        *_network(snapshot),
        *_claims(snapshot),
        *(item for node in snapshot.mesh_nodes for item in _mesh_node(node, snapshot)),
        *_paths(snapshot),
        *_missing(snapshot),
        *_foreign(snapshot),
    ]


def _agents(snapshot: Snapshot) -> Iterator[Finding]:
    if snapshot.agents is None and "daemonsets" not in snapshot.unreadable:
        message = "not found in this cluster: what is shown of nodes is their last reported state"
        todo = f"helm status quilt -n {snapshot.release_namespace}"
        yield fail("agents-absent", f"DaemonSet {NODE_DAEMONSET}", message, todo)


def _operator(snapshot: Snapshot) -> Iterator[Finding]:
    namespace, operator = snapshot.release_namespace, snapshot.operator
    if operator is None and "deployments" not in snapshot.unreadable:
        todo = f"helm status quilt -n {namespace}"
        yield fail("operator-absent", "Deployment quilt-operator", "not found in this cluster", todo)
    if operator is None or operator.ready:
        return
    troubles = [
        f"{pod.name}: {pod.trouble}"
        for pod in snapshot.pods or ()
        if pod.component == OPERATOR_COMPONENT and pod.trouble
    ]
    message = "no replica is ready: nobody assigns subnets or judges heartbeats; traffic continues"
    yield fail(
        "operator-not-ready",
        operator.about,
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
    for type_, bad, code, judge, todo in (
        (NETWORK_ACCEPTED, "False", "network-not-accepted", fail, _DESCRIBE),
        (SUBNETS_AVAILABLE, "False", "subnets-exhausted", fail, extend),
        (CLAIMS_CONSISTENT, "False", "claims-inconsistent", fail, "kubectl get quiltsubnets -o wide"),
        (WITHDRAWAL_PAUSED, "True", "withdrawal-paused", warn, _DESCRIBE),
        (AGENTS_RESPONSIVE, "False", "agents-silent", warn, _DESCRIBE),
        (PODS_FIT, "False", "pods-do-not-fit", warn, "set maxPods in the configuration of these kubelets"),
    ):
        if (held := network.condition(type_)) and held.status == bad:
            yield judge(code, about, held.text, todo)
    total, free = network.status.subnets.total, network.status.subnets.free
    if total and 0 < free < total * _FEW:
        yield warn("subnets-few", about, f"only {free} of {total} subnets are free for new nodes", extend)


def _extend(spec: QuiltNetworkSpec) -> str:
    have = ", ".join(f'"{cidr}"' for cidr in spec.cidrs if ":" not in cidr)
    patch = f'{{"spec":{{"clusterCIDRs":[{have},"NEW"]}}}}'
    return f"kubectl patch quiltnetwork {DEFAULT_NETWORK} --type merge -p '{patch}'"


def _claims(snapshot: Snapshot) -> Iterator[Finding]:
    owners = Counter(
        (item.spec.node, 6 if ":" in item.spec.cidr else 4)
        for item in snapshot.subnets
        if item.mesh.phase != RELEASING and item.spec.cidr
    )
    moving = {node.name for node in snapshot.mesh_nodes if node.has(SUBNET_IN_USE)}
    for (node, version), count in sorted(owners.items()):
        if count > 1 and node not in moving:
            mine = ", ".join(item.name for item in snapshot.subnets_of[node])
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


def _mesh_node(node: QuiltNode, snapshot: Snapshot) -> Iterator[Finding]:
    about = f"QuiltNode {node.name}"
    pod = snapshot.pod_of.get(node.name)
    if node.status.phase == DOWN:
        ready = node.condition(READY)
        message = ready.text if ready else "neither the agent nor the kubelet renews its Lease"
        yield fail("node-down", about, message, f"kubectl describe node {node.name}")
        return
    if node.has(AGENT_UNRESPONSIVE):
        message = "its agent does not renew its Lease; what it set up keeps forwarding"
        yield fail("agent-unresponsive", about, message + _because(pod), _look_at(pod, snapshot))
        return
    causes = list(_conditions(node, pod, snapshot))
    yield from causes
    if not causes and node.status.phase != UP:
        ready = node.condition(READY)
        why = ready.text if ready else "the operator has not looked at it yet"
        message = f"{node.status.phase or PENDING}: {why}"
        yield fail("node-pending", about, message, f"kubectl describe quiltnode {node.name}")
    if not causes and pod is not None and pod.trouble:
        yield fail("pod-trouble", about, f"pod {pod.name}: {pod.trouble}", _look_at(pod, snapshot))


def _conditions(node: QuiltNode, pod: SystemPod | None, snapshot: Snapshot) -> Iterator[Finding]:
    about = f"QuiltNode {node.name}"
    describe = f"kubectl describe quiltnode {node.name}"
    for type_, bad, code, todo in (
        (SUBNET_ALLOCATED, "False", "subnet-not-allocated", describe),
        (CLAIM_LOST, "True", "claim-lost", describe),
        (RUNTIME_READY, "False", "runtime-not-ready", _look_at(pod, snapshot, "runtime")),
        (DATAPLANE_IN_SYNC, "False", "dataplane-not-in-sync", _look_at(pod, snapshot, "agent")),
    ):
        if (held := node.condition(type_)) and held.status == bad:
            yield fail(code, about, held.text + _because(pod), todo)
            return
    if (moving := node.condition(SUBNET_IN_USE)) and moving.status == "True":
        yield warn("subnet-in-use", about, moving.text, describe)
    synced = node.condition(DATAPLANE_IN_SYNC)
    if synced and (synced.status, synced.reason) == ("True", "Warning"):
        yield warn("dataplane-warning", about, synced.text, f"quiltctl check node   (on {node.name})")
    runtime = node.condition(RUNTIME_READY)
    if runtime and (runtime.status, runtime.reason) == ("True", "Warning"):
        yield warn("runtime-warning", about, runtime.text, f"quiltctl check node   (on {node.name})")


def _paths(snapshot: Snapshot) -> Iterator[Finding]:
    """Pairs and directions that fail, by the first nodes that say so: of one outage many may."""
    found = [
        (node.name, held.text)
        for node in snapshot.mesh_nodes
        if node.status.phase == UP and not node.has(AGENT_UNRESPONSIVE)
        if (held := node.condition(PEERS_REACHABLE)) and held.status == "False"
    ]
    for name, text in found[:_NAMED]:
        yield fail("paths-failing", f"QuiltNode {name}", text, "quiltctl latency")
    if len(found) > _NAMED:
        message = f"{len(found) - _NAMED} more nodes report paths that fail"
        yield fail("paths-failing", "mesh", message, "quiltctl latency")


def _missing(snapshot: Snapshot) -> Iterator[Finding]:
    """Nodes of the cluster that never joined the mesh."""
    joined = {item.name for item in snapshot.mesh_nodes}
    for node in snapshot.kube_nodes or ():
        if node.name in joined or not node.linux:
            continue
        pod = snapshot.pod_of.get(node.name)
        if pod is None and snapshot.pods is not None:
            message = "it is not in the mesh: no quilt-mesh pod is scheduled on it"
            todo = f"kubectl -n {snapshot.release_namespace} describe daemonset quilt-mesh"
        else:
            message = "it is not in the mesh: its agent has not registered" + _because(pod)
            todo = _look_at(pod, snapshot)
        yield fail("node-not-in-mesh", f"Node {node.name}", message, todo)


def _foreign(snapshot: Snapshot) -> Iterator[Finding]:
    """QuiltNodes without a Node: their garbage collection is the API server's, and it is slow at times."""
    if snapshot.kube_nodes is None:
        return
    nodes = {item.name for item in snapshot.kube_nodes}
    for item in snapshot.mesh_nodes:
        if item.name not in nodes:
            about, todo = f"QuiltNode {item.name}", f"kubectl delete quiltnode {item.name}"
            yield warn("quiltnode-orphaned", about, "the cluster has no Node of that name", todo)


def _because(pod: SystemPod | None) -> str:
    return f" (pod {pod.name}, {pod.trouble})" if pod is not None and pod.trouble else ""


def _look_at(pod: SystemPod | None, snapshot: Snapshot, container: str = "agent") -> str:
    if pod is None:
        return f"kubectl -n {snapshot.release_namespace} get pods -o wide"
    if "crashes" in pod.trouble:
        crashed = pod.trouble.split()[1]
        return f"kubectl -n {pod.namespace} logs {pod.name} -c {crashed} --previous"
    if pod.trouble:
        return f"kubectl -n {pod.namespace} describe pod {pod.name}"
    return f"kubectl -n {pod.namespace} logs {pod.name} -c {container}"
