"""Who may write what: the chart's policies and roles, asked with the tokens that agents and operator hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from quilt_crds.names import (
    AGENT_FIELD_MANAGER,
    EVENT,
    LEASE_NAMESPACE,
    OPERATOR_FIELD_MANAGER,
    QUILTENDPOINTS,
    QUILTNETWORK,
    QUILTNODE,
    QUILTSUBNET,
)
from tests.support.controlplane import NAMESPACE, Api, ControlPlane, Json, control_plane, thing

LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{LEASE_NAMESPACE}/leases"
NOW = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """The chart installed and its network made."""
    with control_plane("admission") as plane:
        plane.install()
        plane.admin.create(QUILTNETWORK.path(), thing(QUILTNETWORK, "default", spec={})).ok()
        yield plane


@pytest.fixture(scope="module")
def operator(plane: ControlPlane) -> Api:
    """The operator's account."""
    return plane.account("quilt-operator")


@pytest.fixture(scope="module")
def agent(plane: ControlPlane) -> Api:
    """The agent of worker-1, whose QuiltNode exists."""
    api = plane.agent("worker-1")
    api.create(QUILTNODE.path(), thing(QUILTNODE, "worker-1", spec={})).ok()
    return api


def condition(kind: str, status: str = "True") -> Json:
    return {"type": kind, "status": status, "reason": "Test", "message": "", "lastTransitionTime": NOW}


def lease(name: str) -> Json:
    spec = {"holderIdentity": name, "leaseDurationSeconds": 30, "renewTime": "2026-01-01T00:00:00.000000Z"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec}


def test_an_agent_describes_its_own_node_and_renews_its_own_lease(agent: Api, plane: ControlPlane) -> None:
    status = {"hostIP": "192.0.2.1", "cpuCores": 2, "conditions": [condition("DataplaneInSync")]}
    body = thing(QUILTNODE, "worker-1", status=status)
    assert (
        agent.apply(QUILTNODE.path("worker-1", "status"), body, AGENT_FIELD_MANAGER).ok()["status"] == status
    )
    held = agent.create(LEASES, lease("worker-1")).ok()
    held["spec"]["renewTime"] = "2026-01-01T00:00:10.000000Z"
    held = agent.request("PUT", f"{LEASES}/worker-1", held).ok()
    held["metadata"]["ownerReferences"] = [owner(agent)]
    agent.request("PUT", f"{LEASES}/worker-1", held).ok()


def test_an_agent_publishes_the_endpoints_of_its_own_node_alone(plane: ControlPlane) -> None:
    """A stolen token cannot say which addresses pods of another node have."""
    agent = plane.agent("worker-1")

    def endpoints(node: str, named: str = "") -> Json:
        pod = {"uid": "u", "namespace": "default", "name": "web", "address": "10.42.1.7"}
        return thing(QUILTENDPOINTS, node, spec={"node": named or node, "pods": 1, "endpoints": [pod]})

    agent.apply(QUILTENDPOINTS.path("worker-1"), endpoints("worker-1"), AGENT_FIELD_MANAGER).ok()
    other = agent.apply(QUILTENDPOINTS.path("worker-2"), endpoints("worker-2"), AGENT_FIELD_MANAGER)
    other.refused(403, "quiltendpoints, not worker-2")
    named = agent.apply(
        QUILTENDPOINTS.path("worker-1"), endpoints("worker-1", "worker-2"), AGENT_FIELD_MANAGER
    )
    named.refused(422, "metadata.name must be spec.node")


def owner(api: Api, node: str = "worker-1") -> Json:
    """The reference to its Node that an agent writes."""
    uid = str(api.get(f"/api/v1/nodes/{node}").ok()["metadata"]["uid"])
    return {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}


@pytest.mark.parametrize(
    "meta",
    [{"finalizers": ["example.org/mine"]}, {"ownerReferences": None}, {"ownerReferences": []}],
    ids=["finalizer", "no owner", "empty owners"],
)
def test_an_agents_token_cannot_keep_its_quiltnode_beyond_its_node(plane: ControlPlane, meta: Json) -> None:
    """s9: A stolen agent token can neither put a finalizer on its QuiltNode nor take the owner off."""
    agent = plane.agent("worker-5")
    node = thing(QUILTNODE, "worker-5", spec={})
    node["metadata"]["ownerReferences"] = [owner(agent, "worker-5")]
    plane.admin.create(QUILTNODE.path(), node)
    before = plane.admin.get(QUILTNODE.path("worker-5")).ok()["metadata"]
    agent.merge(QUILTNODE.path("worker-5"), {"metadata": meta})
    agent.merge(QUILTNODE.path("worker-5", "status"), {"metadata": meta})
    after = plane.admin.get(QUILTNODE.path("worker-5")).ok()["metadata"]
    assert after.get("finalizers") is None
    assert after["ownerReferences"] == before["ownerReferences"]


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ({"finalizers": ["example.org/mine"]}, "may not add finalizers"),
        ({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x"}]}, "its own Node"),
    ],
)
def test_what_an_agent_creates_is_deleted_with_its_node(plane: ControlPlane, meta: Json, words: str) -> None:
    """s9: An agent creates no QuiltNode and no Lease with a finalizer or with another owner than its Node."""
    agent = plane.agent("worker-6")
    node = thing(QUILTNODE, "worker-6", spec={})
    node["metadata"] |= meta
    agent.create(QUILTNODE.path() + "?dryRun=All", node).refused(403, words)
    held = lease("worker-6")
    held["metadata"] |= meta
    agent.create(LEASES + "?dryRun=All", held).refused(403, words)


def test_a_lease_keeps_its_owner(plane: ControlPlane) -> None:
    """s9: An agent's Lease gets no finalizer and keeps its owner; one by others does not stop renewals."""
    agent = plane.agent("worker-7")
    body = lease("worker-7")
    body["metadata"]["ownerReferences"] = [owner(agent, "worker-7")]
    held = agent.create(LEASES, body).ok()
    path = f"{LEASES}/worker-7"
    loose = {**held, "metadata": {**held["metadata"], "ownerReferences": []}}
    agent.request("PUT", path, loose).refused(403, "its own Node")
    kept = {**held, "metadata": {**held["metadata"], "finalizers": ["example.org/mine"]}}
    agent.request("PUT", path, kept).refused(403, "may not add finalizers")
    changed = plane.admin.merge(path, {"metadata": {"finalizers": ["example.org/theirs"]}}).ok()
    held["metadata"]["resourceVersion"] = changed["metadata"]["resourceVersion"]
    agent.request("PUT", path, held).ok()


def test_an_agents_conditions_leave_room_for_the_operators(
    plane: ControlPlane, agent: Api, operator: Api
) -> None:
    """s9: Sixteen conditions of a stolen agent token are refused: the operator's find room."""
    path = QUILTNODE.path("worker-1", "status")
    many = [condition(f"Mine{number}") for number in range(16)]
    agent.apply(path, thing(QUILTNODE, "worker-1", status={"conditions": many}), AGENT_FIELD_MANAGER)
    wanted = {
        "conditions": [condition("Ready"), condition("SubnetAllocated"), condition("AgentUnresponsive")]
    }
    answer = operator.apply(path, thing(QUILTNODE, "worker-1", status=wanted), OPERATOR_FIELD_MANAGER)
    assert answer.status == 200, answer.message
    few = [condition(f"Mine{number}") for number in range(8)]
    agent.apply(path, thing(QUILTNODE, "worker-1", status={"conditions": few}), AGENT_FIELD_MANAGER).ok()
    agent.apply(path, thing(QUILTNODE, "worker-1", status={"conditions": []}), AGENT_FIELD_MANAGER).ok()


def test_an_agent_reads_the_mesh(agent: Api) -> None:
    for resource in (QUILTNETWORK, QUILTSUBNET):
        agent.get(resource.path()).ok()


def test_an_agent_writes_no_other_node(agent: Api, plane: ControlPlane) -> None:
    plane.admin.create(QUILTNODE.path(), thing(QUILTNODE, "worker-2", spec={})).ok()
    words = "quilt-agent on node worker-1 may only write its own"
    body = thing(QUILTNODE, "worker-2", status={"hostIP": "192.0.2.66"})
    answer = agent.apply(QUILTNODE.path("worker-2", "status"), body, AGENT_FIELD_MANAGER)
    answer.refused(403, words, "quiltnodes, not worker-2")
    agent.create(QUILTNODE.path(), thing(QUILTNODE, "worker-3", spec={})).refused(403, words)
    agent.create(LEASES, lease("worker-2")).refused(403, words, "leases, not worker-2")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"phase": "Up"}, "status.phase, subnets, mac and lastTransitionTime belong to quilt-operator"),
        ({"subnets": ["10.42.7.0/24"]}, "belong to quilt-operator"),
        ({"mac": "02:00:00:00:00:01"}, "belong to quilt-operator"),
        (
            {"conditions": [condition("Ready")]},
            "conditions Ready, SubnetAllocated, AgentUnresponsive and SubnetInUse belong",
        ),
        ({"conditions": [condition("SubnetInUse", "True")]}, "belong to quilt-operator"),
        ({"conditions": [condition("AgentUnresponsive", "False")]}, "belong to quilt-operator"),
    ],
)
def test_an_agent_does_not_speak_for_the_operator(agent: Api, status: Json, words: str) -> None:
    body = thing(QUILTNODE, "worker-1", status=status)
    agent.apply(QUILTNODE.path("worker-1", "status"), body, OPERATOR_FIELD_MANAGER).refused(403, words)


def test_an_agent_may_not_undo_what_the_operator_reported(agent: Api, operator: Api) -> None:
    path = QUILTNODE.path("worker-1", "status")
    status = {"phase": "Down", "conditions": [condition("Ready", "False")]}
    operator.apply(path, thing(QUILTNODE, "worker-1", status=status), OPERATOR_FIELD_MANAGER).ok()
    agent.merge(path, {"status": {"phase": None}}).refused(403, "belong to quilt-operator")
    agent.merge(path, {"status": {"conditions": []}}).refused(403, "belong to quilt-operator")
    agent.merge(path, {"status": {"hostname": "worker-1"}}).ok()


@pytest.mark.parametrize(
    "spec",
    [
        {"hostIP": "192.0.2.66"},
        {"subnet": "10.42.7.0/24"},
        {"routes": [{"destination": "10.60.0.0/24", "interface": "br0"}]},
    ],
)
def test_an_agent_may_not_decide_what_is_the_administrators(
    plane: ControlPlane, agent: Api, spec: Json
) -> None:
    agent.merge(QUILTNODE.path("worker-1"), {"spec": spec}).refused(403, "cannot patch")
    other = plane.agent("worker-9")
    body = thing(QUILTNODE, "worker-9", spec=spec)
    other.create(QUILTNODE.path() + "?dryRun=All", body).refused(403, "belong to the administrator")


def event(node: str, **changed: Any) -> Json:
    """An Event as the agent writes it about what its probes find."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{node}.path-failing.1", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "quilt.io/agent",
        "reportingInstance": node,
        "action": "PathFailing",
        "reason": "PathFailing",
        "type": "Warning",
        "regarding": {"apiVersion": QUILTNODE.api, "kind": "QuiltNode", "name": node},
        **changed,
    }


def test_an_agent_writes_events_about_its_own_node_alone(agent: Api) -> None:
    path = EVENT.path(namespace="default")
    agent.create(path, event("worker-1")).ok()
    agent.create(path, event("worker-1")).refused(409, "already exists")
    agent.create(path, event("worker-2")).refused(403, "may only write its own events, not worker-2")
    words = "may only write Events about its QuiltNode"
    other = {"apiVersion": "v1", "kind": "Node", "name": "worker-1"}
    agent.create(path, event("worker-1", regarding=other)).refused(403, words)
    agent.create(path, event("worker-1", reportingController="kubelet")).refused(403, words)
    agent.create(EVENT.path(namespace=NAMESPACE), event("worker-1")).refused(403, "cannot create")


def test_a_token_that_names_no_node_writes_nothing(plane: ControlPlane) -> None:
    loose = plane.account("quilt-agent")
    answer = loose.create(QUILTNODE.path(), thing(QUILTNODE, "worker-4", spec={}))
    answer.refused(403, "quilt-agent must use a token bound to its Pod")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", QUILTSUBNET.path()),
        ("PATCH", QUILTSUBNET.path("10.42.1.0-24")),
        ("DELETE", QUILTNODE.path("worker-1")),
        ("PATCH", QUILTNETWORK.path("default")),
        ("GET", "/api/v1/nodes"),
        ("PATCH", "/api/v1/nodes/worker-1/status"),
        ("GET", "/api/v1/secrets"),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps"),
        ("GET", LEASES),
        ("POST", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"),
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"),
    ],
)
def test_an_agent_has_no_other_right(agent: Api, method: str, path: str) -> None:
    agent.request(method, path, {}, "application/merge-patch+json").refused(403, "cannot")


def test_heartbeats_have_a_priority_of_their_own(plane: ControlPlane, agent: Api) -> None:
    schemas = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/quilt-heartbeats"
    wanted = plane.admin.get(schemas).ok()["metadata"]["uid"]
    agent.create(LEASES, lease("worker-1"))
    assert agent.get(f"{LEASES}/worker-1").headers["X-Kubernetes-Pf-Flowschema-Uid"] == wanted


def test_the_operator_can_do_its_work(plane: ControlPlane, operator: Api, agent: Api) -> None:
    own = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
    leader = lease("quilt-operator")
    held = operator.create(own, leader).ok()
    operator.request("PUT", f"{own}/quilt-operator", held).ok()
    for namespace in (LEASE_NAMESPACE, "kube-node-lease"):
        operator.get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases").ok()
    for path in (
        "/api/v1/nodes",
        QUILTNODE.path(),
        "/apis/networking.k8s.io/v1/servicecidrs",
        f"/api/v1/namespaces/{NAMESPACE}/configmaps/quilt-network",
        f"/api/v1/namespaces/{NAMESPACE}/configmaps?fieldSelector=metadata.name%3Dquilt-network",
    ):
        operator.get(path).ok()
    event: Json = {"metadata": {"name": "test"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal"}
    event |= {"reason": "Test", "action": "Test", "reportingController": "quilt-operator"}
    event |= {"reportingInstance": "test", "regarding": {"kind": QUILTNODE.kind, "name": "worker-1"}}
    operator.create("/apis/events.k8s.io/v1/namespaces/default/events", event).ok()
    body = thing(QUILTNODE, "worker-1", status={"phase": "Up", "subnets": ["10.42.1.0/24"]})
    operator.apply(QUILTNODE.path("worker-1", "status"), body, OPERATOR_FIELD_MANAGER).ok()
    status = {"status": {"conditions": [condition("NetworkUnavailable", "False")]}}
    operator.request(
        "PATCH", "/api/v1/nodes/worker-1/status", status, "application/strategic-merge-patch+json"
    ).ok()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", QUILTNODE.path()),
        ("DELETE", QUILTNODE.path("worker-1")),
        ("DELETE", QUILTNETWORK.path("default")),
        ("PATCH", "/api/v1/nodes/worker-1"),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps"),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps/kube-root-ca.crt"),
        ("GET", "/api/v1/secrets"),
        ("GET", "/api/v1/pods"),
        ("PUT", QUILTSUBNET.path("10.42.1.0-24")),
        ("POST", "/apis/events.k8s.io/v1/namespaces/kube-system/events"),
        ("PUT", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/other"),
        ("PUT", f"{LEASES}/worker-1"),
    ],
)
def test_the_operator_has_no_other_right(operator: Api, method: str, path: str) -> None:
    operator.request(method, path, {}, "application/merge-patch+json").refused(403, "cannot")
