"""What can be wrong with a node of the mesh. Of several symptoms of one cause only the cause is reported."""

from __future__ import annotations

from collections.abc import Iterator

from quilt_cli.core.finding import Finding, fail, warn
from quilt_cli.core.objects import SystemPod
from quilt_cli.core.snapshot import Snapshot
from quilt_crds.names import (
    AGENT_UNRESPONSIVE,
    CLAIM_LOST,
    DATAPLANE_IN_SYNC,
    DOWN,
    NODE_COMPONENT,
    PENDING,
    READY,
    RUNTIME_READY,
    SUBNET_ALLOCATED,
    SUBNET_IN_USE,
    UP,
)
from quilt_crds.wire import QuiltNode


def of(snapshot: Snapshot) -> list[Finding]:
    """All findings about single nodes, by node."""
    if not snapshot.installed:
        return []
    found = [item for node in snapshot.mesh_nodes for item in _mesh_node(node, snapshot)]
    return [*found, *_missing(snapshot), *_foreign(snapshot)]


def _mesh_node(node: QuiltNode, snapshot: Snapshot) -> Iterator[Finding]:
    about = f"QuiltNode {node.name}"
    pod = _pod_of(node.name, snapshot)
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
        held = node.condition(type_)
        if held is not None and held.status == bad:
            yield fail(code, about, held.text + _because(pod), todo)
            return
    moving = node.condition(SUBNET_IN_USE)
    if moving is not None and moving.status == "True":
        yield warn("subnet-in-use", about, moving.text, describe)
    synced = node.condition(DATAPLANE_IN_SYNC)
    if synced is not None and synced.status == "True" and synced.reason == "Warning":
        yield warn("dataplane-warning", about, synced.text, f"quiltctl check node   (on {node.name})")


def _missing(snapshot: Snapshot) -> Iterator[Finding]:
    """Nodes of the cluster that never joined the mesh."""
    joined = {item.name for item in snapshot.mesh_nodes}
    for node in snapshot.kube_nodes or ():
        if node.name in joined or not node.linux:
            continue
        pod = _pod_of(node.name, snapshot)
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
            message = "the cluster has no Node of that name"
            yield warn(
                "quiltnode-orphaned",
                f"QuiltNode {item.name}",
                message,
                f"kubectl delete quiltnode {item.name}",
            )


def _pod_of(node: str, snapshot: Snapshot) -> SystemPod | None:
    mine = [p for p in snapshot.pods or () if p.node == node and p.component == NODE_COMPONENT]
    return next(iter(mine), None)


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
