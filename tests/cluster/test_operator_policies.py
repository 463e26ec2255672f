"""Who is behind a selector, by the operator's own account on a real API server: pods are objects alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
import pytest
from msgspec import convert
from prometheus_client import CollectorRegistry

from quilt_crds.names import (
    AGENT_FIELD_MANAGER,
    CLUSTERNETWORKPOLICY,
    NETWORKPOLICY,
    QUILTENDPOINTS,
    QUILTPEERS,
)
from quilt_crds.wire_network import EndpointsSpec, PolicySpec, QuiltNetworkSpec
from quilt_crds.wire_policy import QuiltPeers
from quilt_kube.aio import Client
from quilt_pods.service import Host, NodePods
from quilt_policy.program import PodName
from quilt_policy.selectors import PeerSelector
from tests.support import agent_api as agents
from tests.support.controlplane import ControlPlane, Json, control_plane, thing
from tests.support.operators import INSTALLED, Fleet, Operator, eventually
from tests.support.policy_double import FakePolicyRuntime

WEB = PeerSelector(namespace="shop", pods=(("app", "In", ("web",)),))
POLICY = {
    "podSelector": {},
    "policyTypes": ["Ingress"],
    "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}],
}
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
CRD: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "clusternetworkpolicies.policy.networking.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, a test"},
    },
    "spec": {
        "group": "policy.networking.k8s.io",
        "scope": "Cluster",
        "names": {"kind": "ClusterNetworkPolicy", "plural": "clusternetworkpolicies"},
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": ANYTHING, "status": ANYTHING},
                    }
                },
            }
        ],
    },
}


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """The chart with policies on."""
    with control_plane("policies") as plane:
        plane.install(*INSTALLED, "--set=network.policy.enabled=true")
        yield plane


@pytest.fixture
def shop(plane: ControlPlane, fleet: Fleet) -> Iterator[Fleet]:
    """One node of the mesh, and a namespace whose policy admits the pods of `web`."""
    fleet.join("node-1")
    eventually(lambda: fleet.claim_of("node-1"), "node-1 has a subnet")
    plane.admin.create("/api/v1/namespaces", named("v1", "Namespace", "shop"))
    account = named("v1", "ServiceAccount", "default")
    plane.admin.create("/api/v1/namespaces/shop/serviceaccounts", account)
    policy = named("networking.k8s.io/v1", "NetworkPolicy", "admit-web") | {"spec": POLICY}
    plane.admin.create(NETWORKPOLICY.path(namespace="shop"), policy).ok()
    yield fleet
    for path in (NETWORKPOLICY.path(namespace="shop"), "/api/v1/namespaces/shop/pods"):
        plane.admin.request("DELETE", path, {"gracePeriodSeconds": 0}).ok()
    eventually(lambda: not members(plane), "nothing is left of it")


def named(api: str, kind: str, name: str) -> Json:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}}


def members(plane: ControlPlane) -> list[int] | None:
    """The last bytes of the addresses behind the selector; None while nothing is written of it."""
    answer = plane.admin.get(QUILTPEERS.path(f"{WEB.hash}-0"))
    if answer.status == 404:
        return None
    peers = convert(answer.ok(), QuiltPeers)
    assert (peers.label, peers.spec.selector) == (WEB.label, WEB.text)
    return [address & 0xFF for address in peers.spec.addresses]


def publish(plane: ControlPlane, **pods: str) -> None:
    """What the agent of node-1 says, by its token: addresses by the names of pods."""
    found = [
        {
            "uid": plane.admin.get(f"/api/v1/namespaces/shop/pods/{name}").ok()["metadata"]["uid"],
            "namespace": "shop",
            "name": name,
            "address": address,
        }
        for name, address in pods.items()
    ]
    spec = {"node": "node-1", "pods": len(found), "endpoints": found}
    body = thing(QUILTENDPOINTS, "node-1", spec=spec)
    plane.agent("node-1").apply(QUILTENDPOINTS.path("node-1"), body, AGENT_FIELD_MANAGER).ok()


def start(plane: ControlPlane, name: str) -> None:
    pod = named("v1", "Pod", name)
    pod["metadata"]["labels"] = {"app": "web"}
    container = {"name": "main", "image": "example.com/web:1"}
    pod["spec"] = {"nodeName": "node-1", "containers": [container], "automountServiceAccountToken": False}
    plane.admin.create("/api/v1/namespaces/shop/pods", pod).ok()


def test_endpoints_of_a_node_become_the_addresses_behind_a_selector(
    plane: ControlPlane, operator: Operator, shop: Fleet
) -> None:
    subnet = shop.claim_of("node-1")["cidr"].rpartition(".")[0]
    eventually(lambda: members(plane) == [], "nobody is behind it yet")
    start(plane, "web-1")
    publish(plane, **{"web-1": f"{subnet}.7"})
    eventually(lambda: members(plane) == [7], "the pod's address")
    publish(plane, **{"web-1": "10.42.77.7"})
    eventually(lambda: members(plane) == [], "no address of another node's subnet")
    publish(plane, **{"web-1": f"{subnet}.8"})
    eventually(lambda: members(plane) == [8], "its new address")
    plane.admin.request("DELETE", QUILTPEERS.path(f"{WEB.hash}-0")).ok()
    eventually(lambda: members(plane) == [8], "written again")
    plane.admin.merge("/api/v1/namespaces/shop/pods/web-1", {"metadata": {"labels": {"app": "db"}}}).ok()
    eventually(lambda: members(plane) == [], "it is no web server any more")
    table = plane.cluster.kubectl("get", "quiltendpoints", "node-1", "--no-headers").split()
    assert table[:2] == ["node-1", "1"]
    plane.admin.request("DELETE", NETWORKPOLICY.path("admit-web", namespace="shop")).ok()
    eventually(lambda: members(plane) is None, "nobody asks for it any more")
    assert not operator.logged("policies_crashed")


def test_a_change_of_one_pod_is_one_write_aws_211_cilium_15153(
    plane: ControlPlane, operator: Operator, shop: Fleet
) -> None:
    """However many policies name the selector. A label that none of them names is no write at all."""
    del operator
    for number in range(10):
        policy = named("networking.k8s.io/v1", "NetworkPolicy", f"more-{number}") | {"spec": POLICY}
        plane.admin.create(NETWORKPOLICY.path(namespace="shop"), policy).ok()
    start(plane, "web-1")
    publish(plane, **{"web-1": f"{shop.claim_of('node-1')['cidr'].rpartition('.')[0]}.7"})
    eventually(lambda: members(plane) == [7], "the pod's address")
    before = generation(plane)
    for labels in ({"job": "7"}, {"app": "db"}):
        plane.admin.merge("/api/v1/namespaces/shop/pods/web-1", {"metadata": {"labels": labels}}).ok()
    eventually(lambda: members(plane) == [], "it is no web server any more")
    assert generation(plane) == before + 1


def generation(plane: ControlPlane) -> int:
    """How often the addresses behind the selector were written."""
    return int(plane.admin.get(QUILTPEERS.path(f"{WEB.hash}-0")).ok()["metadata"]["generation"])


def test_a_pod_is_announced_by_its_labels_or_not_at_all_cilium_35993(
    plane: ControlPlane, operator: Operator, shop: Fleet, tmp_path: Path
) -> None:
    """Its ADD comes when the Pod exists, whether or not a watch of the agent's account has shown it yet."""
    del operator, shop
    asyncio.run(_announced(plane, tmp_path))


async def _announced(plane: ControlPlane, folder: Path) -> None:
    runtime = FakePolicyRuntime(folder)
    await runtime.start()
    asked = QuiltNetworkSpec(endpoints=EndpointsSpec(False), policy=PolicySpec(True))
    host = Host(lambda: asked, lambda: None, list, lambda: True, lambda: None)
    channel = grpc.aio.insecure_channel(runtime.address)
    async with Client(plane.agent("node-1").access, agent="a") as client, channel:
        pods = NodePods(client, "node-1", channel, CollectorRegistry(), host)
        task = asyncio.create_task(pods.run())
        pods.changed()
        await agents.eventually(lambda: runtime.replaced)
        start(plane, "late")
        uid = plane.admin.get("/api/v1/namespaces/shop/pods/late").ok()["metadata"]["uid"]
        runtime.wait(PodName("shop", "late", uid))
        await agents.eventually(lambda: PodName("shop", "late", uid) in runtime.pods)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    profiles = [one for change in runtime.changed for one in change.pods if one.pod.name == "late"]
    assert all(one.ingress for one in profiles), "its namespace's policy isolates it from the first"
    await runtime.stop()


def test_what_of_a_cluster_policy_cannot_be_applied_is_in_its_status(
    plane: ControlPlane, operator: Operator, fleet: Fleet
) -> None:
    del operator, fleet
    plane.admin.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD).ok()
    rule = {"action": "Accept", "to": [{"domainNames": ["example.com"]}]}
    spec = {"tier": "Admin", "priority": 5, "subject": {"namespaces": {}}, "egress": [rule]}
    policy = CLUSTERNETWORKPOLICY.document({"name": "names"}, spec=spec)
    name = str(CRD["metadata"]["name"])
    plane.cluster.kubectl("wait", "crd", name, "--for=condition=Established", "--timeout=60s")
    plane.admin.create(CLUSTERNETWORKPOLICY.path(), policy).ok()

    def reported() -> list[tuple[str, str]]:
        status = plane.admin.get(CLUSTERNETWORKPOLICY.path("names")).ok().get("status", {})
        return [(item["type"], item["message"]) for item in status.get("conditions", [])]

    words = "egress[0]: domainNames are not supported: it accepts nothing"
    eventually(lambda: reported() == [("quilt.io/Accepted", words)], "the condition", 60)


def test_what_is_left_is_removed_after_policies_are_switched_off(
    plane: ControlPlane, operator: Operator, shop: Fleet
) -> None:
    del shop
    eventually(lambda: members(plane) == [], "written")
    plane.install(*INSTALLED, "--set=network.policy.enabled=false")
    eventually(lambda: operator.logged("policies_disabled"), "switched off")
    eventually(lambda: members(plane) is None, "removed", 120)
