"""The operator against a real API server, under its own account: no node exists but as objects and Leases."""

from __future__ import annotations

import time

from quilt_crds.names import QUILTNETWORK, QUILTNODE, QUILTSUBNET, claim_name, vtep_mac
from tests.support.controlplane import thing
from tests.support.operators import Fleet, Operator, eventually, names


def writes_after_a_look(operator: Operator, fleet: Fleet, seen: str) -> float:
    """Touch nodes without telling anything new; return what was written so far once they were looked at."""
    reconciled = operator.metric("quilt_operator_reconcile_duration_seconds_count", "node")
    fleet.register("node-1")
    fleet.api.merge(QUILTNODE.path("node-2"), {"metadata": {"labels": {"seen": seen}}}).ok()
    eventually(
        lambda: operator.metric("quilt_operator_reconcile_duration_seconds_count", "node") > reconciled,
        "looked at",
    )
    return operator.writes()


def test_three_nodes_get_the_first_three_subnets_in_two_writes_each(operator: Operator, fleet: Fleet) -> None:
    before = operator.writes(without_network=True)
    fleet.join(*names(3))
    for number, name in enumerate(names(3), 1):
        eventually(lambda name=name: fleet.condition(name, "Ready") == "True/InMesh", f"{name} is Ready")
        assert fleet.claim_of(name) == {
            "cidr": f"10.42.{number}.0/24", "phase": "Up", "hostIP": f"192.168.0.{number}"
        }  # fmt: skip
        status = fleet.node(name)["status"]
        assert status["phase"] == "Up"
        assert status["subnets"] == [f"10.42.{number}.0/24"]
        assert status["mac"] == vtep_mac("default", name)
        assert fleet.condition(name, "SubnetAllocated") == "True/Claimed"
        assert fleet.condition(name, "AgentUnresponsive") == "False/LeaseRenewed"
    assert operator.metric("quilt_operator_subnets", 'state="allocated"') == 3
    assert operator.writes(without_network=True) - before <= 2 * 3
    eventually(lambda: fleet.network()["status"]["subnets"]["allocated"] == 3, "the network knows")
    # A write is counted after it can be seen: the first look comes after all that joining wrote was counted.
    settled = [writes_after_a_look(operator, fleet, seen) for seen in ("once", "twice")]
    assert settled[0] == settled[1], "nothing changed, so nothing is written"


def test_only_a_confirmed_host_ip_is_published(operator: Operator, fleet: Fleet) -> None:
    fleet.join("node-1")
    fleet.host("node-2")
    fleet.register("node-2", host_ip="203.0.113.9")
    eventually(lambda: fleet.condition("node-2", "Ready") == "False/HostIPUnconfirmed", "unconfirmed")
    assert fleet.claim_of("node-2")["phase"] == "Down"
    assert "hostIP" not in fleet.claim_of("node-2")
    # Another node's address, which the Node's own addresses would even confirm.
    stolen = {"status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}]}}
    fleet.api.merge("/api/v1/nodes/node-2/status", stolen).ok()
    fleet.register("node-2", host_ip="192.168.0.1")
    eventually(lambda: fleet.condition("node-2", "Ready") == "False/HostIPConflict", "conflict")
    assert fleet.claim_of("node-1")["hostIP"] == "192.168.0.1"
    # An administrator's word needs no confirmation.
    fleet.api.merge(QUILTNODE.path("node-2"), {"spec": {"hostIP": "203.0.113.9"}}).ok()
    eventually(lambda: fleet.claim_of("node-2").get("hostIP") == "203.0.113.9", "published")


def test_silence_of_the_agent_alone_keeps_routes_and_of_both_withdraws(
    operator: Operator, fleet: Fleet
) -> None:
    fleet.join(*names(4))
    eventually(lambda: all(fleet.phase(name) == "Up" for name in names(4)), "Up")
    fleet.agents.discard("node-2")
    eventually(lambda: fleet.condition("node-2", "AgentUnresponsive") == "True/LeaseNotRenewed", "noticed")
    assert fleet.condition("node-2", "Ready") == "Unknown/AgentUnresponsive"
    assert fleet.claim_of("node-2")["phase"] == "Up"
    fleet.silence("node-2")
    eventually(lambda: fleet.claim_of("node-2")["phase"] == "Down", "withdrawn")
    eventually(lambda: fleet.phase("node-2") == "Down", "Down")
    assert fleet.claim_of("node-2")["cidr"] == "10.42.2.0/24"
    fleet.revive("node-2")
    eventually(lambda: fleet.claim_of("node-2")["phase"] == "Up", "Up again")
    eventually(lambda: fleet.condition("node-2", "Ready") == "True/InMesh", "Ready again")
    assert {name: fleet.phase(name) for name in names(4)} == dict.fromkeys(names(4), "Up")


def test_row_18_most_nodes_silent_at_once_withdraws_nobody(operator: Operator, fleet: Fleet) -> None:
    fleet.join(*names(5))
    eventually(lambda: all(fleet.phase(name) == "Up" for name in names(5)), "Up")
    fleet.silence("node-1", "node-2", "node-3")

    silenced = time.monotonic()

    def paused() -> bool:
        found = fleet.network()["status"]["conditions"]
        return any(c["type"] == "WithdrawalPaused" and c["status"] == "True" for c in found)

    eventually(paused, "the guard holds")
    eventually(lambda: time.monotonic() > silenced + 4 + 3, "the time-out is over")
    assert {claim["mesh"]["phase"] for claim in fleet.claims().values()} == {"Up"}
    fleet.revive("node-1", "node-2")
    eventually(lambda: not paused(), "the guard lets go")
    eventually(lambda: fleet.phase("node-3") == "Down", "the one that stayed silent is withdrawn")


def test_prepared_nodes_are_pending_and_a_dead_one_beside_them_is_withdrawn(
    operator: Operator, fleet: Fleet
) -> None:
    """t4: Prepared nodes are Pending, however many, and a node that dies beside them is withdrawn."""
    prepared = [f"prepared-{number}" for number in range(4)]
    for name in prepared:
        fleet.api.create(QUILTNODE.path(), thing(QUILTNODE, name, spec={})).ok()
    fleet.join(*names(3))
    eventually(lambda: all(fleet.phase(name) == "Up" for name in names(3)), "Up")
    eventually(lambda: fleet.everyone_has_one(prepared), "prepared nodes have their subnets")
    fleet.silence("node-1")
    eventually(lambda: fleet.phase("node-1") == "Down", "withdrawn")
    assert {fleet.phase(name) for name in prepared} == {"Pending"}
    assert fleet.condition("prepared-0", "Ready") == "False/NotJoined"
    fleet.host("prepared-0")
    fleet.revive("prepared-0")
    fleet.register("prepared-0")
    eventually(lambda: fleet.phase("prepared-0") == "Up", "it joins")


def test_namespaces_of_multicast_that_a_hand_changed_are_taken_back_and_an_event_says_so(
    operator: Operator, fleet: Fleet
) -> None:
    """u13: multicast.namespaces changed by hand is taken back by one apply, which an Event tells."""
    eventually(lambda: operator.logged("network_applied") or fleet.network(), "the network exists")
    written = operator.metric("quilt_operator_api_writes_total", 'resource="quiltnetworks"')
    edit = {"spec": {"multicast": {"namespaces": ["video"]}}}
    fleet.api.merge(QUILTNETWORK.path("default"), edit).ok()

    def reported() -> list[str]:
        items = fleet.api.get("/apis/events.k8s.io/v1/namespaces/default/events").ok()["items"]
        return [item["note"] for item in items if item["reason"] == "HandEditUndone"]

    eventually(lambda: not fleet.network()["spec"]["multicast"]["namespaces"], "taken back")
    eventually(reported, "reported")
    assert 'multicast.namespaces was ["video"], the chart says []' in reported()[0]
    assert operator.metric("quilt_operator_api_writes_total", 'resource="quiltnetworks"') == written + 1


def test_a_deleted_node_keeps_its_subnet_for_the_grace_period(operator: Operator, fleet: Fleet) -> None:
    fleet.join(*names(2))
    eventually(lambda: fleet.everyone_has_one(names(2)), "claimed")
    fleet.leave("node-1")
    eventually(lambda: fleet.claim_of("node-1").get("phase") == "Releasing", "released")
    assert fleet.claim_of("node-1")["releasedAt"]
    fleet.join("node-3")
    eventually(lambda: fleet.claim_of("node-3").get("cidr") == "10.42.3.0/24", "not the released one")
    fleet.join("node-1")
    eventually(lambda: fleet.claim_of("node-1").get("phase") == "Up", "back")
    assert fleet.claim_of("node-1")["cidr"] == "10.42.1.0/24"
    assert "releasedAt" not in fleet.claim_of("node-1")
    fleet.leave("node-1")
    eventually(lambda: not fleet.claim_of("node-1"), "gone after the grace period")
    fleet.join("node-4")
    eventually(lambda: fleet.claim_of("node-4").get("cidr") == "10.42.1.0/24", "reused")


def test_row_24_a_cloud_that_waits_for_routes_is_notified_when_the_node_is_in_sync(
    operator: Operator, fleet: Fleet
) -> None:
    fleet.host("node-1")
    waiting = {"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated"}
    path = "/api/v1/nodes/node-1"
    fleet.api.merge(f"{path}/status", {"status": {"conditions": [waiting]}}).ok()
    fleet.register("node-1")

    def reported() -> bool:
        found = fleet.api.get(path).ok()["status"]["conditions"]
        return [(item["status"], item["reason"]) for item in found] == [("False", "QuiltIsUp")]

    eventually(reported, "NetworkUnavailable is cleared")


def test_a_claim_that_somebody_deletes_is_made_again_with_the_same_subnet(
    operator: Operator, fleet: Fleet
) -> None:
    fleet.join(*names(2))
    eventually(lambda: all(fleet.phase(name) == "Up" for name in names(2)), "Up")
    before = fleet.claims()["10.42.2.0/24"]["metadata"]["uid"]
    for cidr in ("10.42.1.0/24", "10.42.2.0/24"):
        fleet.api.request("DELETE", QUILTSUBNET.path(claim_name(cidr))).ok()
    eventually(lambda: len(fleet.claims()) == 2, "made again")
    assert fleet.owners() == {"node-1": ["10.42.1.0/24"], "node-2": ["10.42.2.0/24"]}
    assert fleet.claims()["10.42.2.0/24"]["metadata"]["uid"] != before


def test_an_administrator_chooses_a_subnet(operator: Operator, fleet: Fleet) -> None:
    fleet.join("node-1")
    eventually(lambda: fleet.claim_of("node-1"), "claimed")
    fleet.api.create(
        QUILTNODE.path(),
        {"apiVersion": "quilt.io/v1alpha1", "kind": "QuiltNode", "metadata": {"name": "node-2"},
         "spec": {"subnet": "10.42.1.0/24"}},
    ).ok()  # fmt: skip
    eventually(lambda: fleet.condition("node-2", "SubnetAllocated") == "False/SubnetTaken", "refused")
    fleet.api.merge(QUILTNODE.path("node-2"), {"spec": {"subnet": "10.42.77.0/24"}}).ok()
    eventually(lambda: fleet.claim_of("node-2").get("cidr") == "10.42.77.0/24", "granted")


def test_row_17_faulty_claims_are_reported_and_left_alone(operator: Operator, fleet: Fleet) -> None:
    # Admission would refuse it; it replaces one from before the network was what it is.
    policy = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
    bindings = [item["metadata"]["name"] for item in fleet.api.get(policy).ok()["items"]]
    kept = [fleet.api.get(f"{policy}/{name}").ok() for name in bindings]
    for name in bindings:
        fleet.api.request("DELETE", f"{policy}/{name}").ok()

    def wide() -> bool:
        body = {"cidr": "10.42.2.0/23", "network": "default", "node": "ghost"}
        claim = {"apiVersion": "quilt.io/v1alpha1", "kind": "QuiltSubnet", "spec": body,
                 "metadata": {"name": claim_name("10.42.2.0/23")}, "mesh": {"phase": "Down"}}  # fmt: skip
        return fleet.api.create(QUILTSUBNET.path(), claim).status in {201, 409}

    eventually(wide, "the policy is off")
    eventually(lambda: operator.metric("quilt_operator_faulty_claims") == 1, "reported")
    for item in kept:
        item["metadata"] = {"name": item["metadata"]["name"]}
        fleet.api.create(policy, item).ok()
    fleet.join(*names(2))
    eventually(lambda: fleet.everyone_has_one(names(2)), "claimed")
    assert fleet.owners()["node-1"] == ["10.42.1.0/24"]
    assert fleet.owners()["node-2"] == ["10.42.4.0/24"], "10.42.2.0 and 10.42.3.0 are not free"
    assert operator.metric("quilt_operator_faulty_claims") == 1


def test_row_22_an_exhausted_pool_is_a_condition_and_heals_when_extended(
    operator: Operator, fleet: Fleet
) -> None:
    everyone = names(260)
    fleet.crowd(*everyone)
    eventually(lambda: len(fleet.claims()) == 254, "all 254 given out", 60)
    before = fleet.owners()
    poor = next(name for name in everyone if name not in before)
    eventually(lambda: fleet.condition(poor, "SubnetAllocated") == "False/Exhausted", "reported")
    assert operator.metric("quilt_operator_subnets", 'state="free"') == 0
    extended = {"spec": {"clusterCIDRs": ["10.42.0.0/16", "10.43.0.0/16"]}}
    fleet.api.merge(QUILTNETWORK.path("default"), extended).ok()
    eventually(lambda: fleet.everyone_has_one(everyone), "everyone has one", 60)
    after = fleet.owners()
    assert {name: after[name] for name in before} == before, "nobody is re-addressed"
    assert fleet.network()["spec"]["clusterCIDRs"][1] == "10.43.0.0/16", "the chart does not undo it"
