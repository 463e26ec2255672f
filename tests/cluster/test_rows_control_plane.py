"""Address plans that were faulty elsewhere, and podCIDRs taken over, on a real API server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.control_plane.plane import Plane
from bench.control_plane.real import RealNode
from quilt_crds.names import (
    AGENT_FIELD_MANAGER,
    LEASE_NAMESPACE,
    NETWORK_CONFIG_KEY,
    NETWORK_CONFIGMAP,
    QUILTNETWORK,
    QUILTNODE,
    QUILTSUBNET,
    claim_name,
    vtep_mac,
)
from tests.support.controlplane import NAMESPACE, Api, ControlPlane, claim, thing
from tests.support.operators import Fleet, Operator, address, eventually, names

SERVICES = "10.96.0.0/16"


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with Operator(plane, tmp_path_factory.mktemp("operator"), "leader") as operator:
        yield operator


@pytest.fixture
def fleet(plane: ControlPlane, operator: Operator) -> Iterator[Fleet]:
    fleet = Fleet(plane)
    yield fleet
    fleet.close()
    for path in (QUILTNODE.path(), "/api/v1/nodes", QUILTSUBNET.path()):
        fleet.api.request("DELETE", path)


def begin(operator: Operator, api: Api, **spec: Any) -> None:
    """Start from nothing with a network of this spec; what is left out is as the tests' chart has it."""
    operator.kill()
    for path in (QUILTNODE.path(), "/api/v1/nodes", QUILTSUBNET.path(), QUILTNETWORK.path()):
        api.request("DELETE", path)
    # The Lease of the one that was killed would hold up the next.
    api.request("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/quilt-operator")
    where = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{NETWORK_CONFIGMAP}"
    heartbeat = {"interval": "1s", "timeout": "4s"}
    wanted = {"clusterCIDRs": ["10.42.0.0/16"], "heartbeat": heartbeat, "reuseGracePeriod": "4s"} | spec
    api.merge(where, {"data": {NETWORK_CONFIG_KEY: json.dumps(wanted)}}).ok()
    operator.restart()
    eventually(operator.leads, "the operator leads", 60)


def accepted(fleet: Fleet) -> str:
    found = fleet.network().get("status", {}).get("conditions", [])
    return next((f"{c['status']}/{c['reason']}" for c in found if c["type"] == "Accepted"), "")


def host_with(fleet: Fleet, name: str, *cidrs: str) -> None:
    """A Node as kube-controller-manager leaves it."""
    spec = {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)}
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}
    fleet.api.create("/api/v1/nodes", body).ok()
    fleet.host(name)


def test_pod_cidrs_of_the_nodes_become_their_claims_the_first_subnet_included(
    operator: Operator, fleet: Fleet
) -> None:
    begin(operator, fleet.api, ipam={"mode": "kubernetes"})
    wanted = {"node-1": "10.42.0.0/24", "node-2": "10.42.9.0/24", "node-3": "10.42.255.0/24"}
    for name, cidr in wanted.items():
        host_with(fleet, name, cidr)
        fleet.revive(name)
        fleet.register(name)
    for name, cidr in wanted.items():
        eventually(lambda name=name: fleet.claim_of(name).get("phase") == "Up", f"{name} is Up")
        assert fleet.claim_of(name) == {"cidr": cidr, "phase": "Up", "hostIP": address(name)}
    fleet.join("node-4")
    eventually(
        lambda: fleet.condition("node-4", "SubnetAllocated") == "False/NoPodCIDR", "reported with the reason"
    )
    fleet.api.merge(
        "/api/v1/nodes/node-4", {"spec": {"podCIDR": "10.42.4.0/24", "podCIDRs": ["10.42.4.0/24"]}}
    )
    eventually(lambda: fleet.claim_of("node-4").get("cidr") == "10.42.4.0/24", "taken over")
    # The controller-manager gives a removed node's range to the next one at once.
    fleet.leave("node-2")
    host_with(fleet, "node-5", "10.42.9.0/24")
    fleet.register("node-5")
    eventually(lambda: fleet.claim_of("node-5").get("cidr") == "10.42.9.0/24", "handed on")
    fleet.api.merge(QUILTNETWORK.path("default"), {"spec": {"ipam": {"mode": "quilt"}}}).refused(
        422, "immutable"
    )


def test_pod_cidrs_of_any_length_are_admitted_as_claims(operator: Operator, fleet: Fleet) -> None:
    """t11: With `ipam.mode: kubernetes` podCIDRs of another length than nodePrefixLength become claims."""
    begin(operator, fleet.api, ipam={"mode": "kubernetes"})
    wanted = {"node-1": "10.42.1.128/25", "node-2": "10.42.4.0/22", "node-3": "10.42.1.0/28"}
    for name, cidr in wanted.items():
        host_with(fleet, name, cidr)
        fleet.revive(name)
        fleet.register(name)

    def judged(name: str) -> bool:
        return fleet.condition(name, "SubnetAllocated") not in {"", "False/Pending"}

    for name in wanted:
        eventually(lambda name=name: judged(name), f"{name} has a claim or is refused one")
    conditions = {name: fleet.condition(name, "SubnetAllocated") for name in wanted}
    assert conditions == dict.fromkeys(wanted, "True/Claimed")
    assert {name: fleet.claim_of(name).get("cidr") for name in wanted} == wanted


def test_one_claim_of_each_family(operator: Operator, fleet: Fleet) -> None:
    begin(operator, fleet.api, clusterCIDRsV6=["fd42::/48"])
    fleet.join(*names(2))
    wanted = {
        "node-1": ["10.42.1.0/24", "fd42:0:0:1::/64"],
        "node-2": ["10.42.2.0/24", "fd42:0:0:2::/64"],
    }
    eventually(lambda: {k: sorted(v) for k, v in fleet.owners().items()} == wanted, "both families")
    eventually(lambda: fleet.node("node-1")["status"].get("subnets") == wanted["node-1"], "shown")


def test_row_16_a_pool_that_overlaps_the_service_network_is_refused(operator: Operator, fleet: Fleet) -> None:
    begin(operator, fleet.api, clusterCIDRs=[SERVICES])
    eventually(lambda: accepted(fleet) == "False/Overlaps", "the network says so")
    fleet.join("node-1")
    eventually(lambda: fleet.condition("node-1", "SubnetAllocated") == "False/Overlaps", "refused")
    assert not fleet.claims()


def test_row_16_a_pool_that_overlaps_a_node_is_refused_until_it_does_not(
    operator: Operator, fleet: Fleet
) -> None:
    begin(operator, fleet.api)
    fleet.join("node-1")
    eventually(lambda: fleet.phase("node-1") == "Up", "Up")
    fleet.host("node-2")
    status = {"status": {"addresses": [{"type": "InternalIP", "address": "10.42.77.7"}]}}
    fleet.api.merge("/api/v1/nodes/node-2/status", status).ok()
    fleet.revive("node-2")
    fleet.register("node-2", host_ip="10.42.77.7")
    eventually(lambda: fleet.condition("node-2", "SubnetAllocated") == "False/Overlaps", "refused")
    eventually(lambda: accepted(fleet) == "False/Overlaps", "the network says so")
    assert fleet.owners() == {"node-1": ["10.42.1.0/24"]}
    fleet.host("node-2")
    fleet.register("node-2")
    eventually(lambda: fleet.claim_of("node-2").get("phase") == "Up", "healed")
    eventually(lambda: accepted(fleet) == "True/Valid", "the network says so")


def test_row_16_extension_and_restart_keep_every_address_and_nothing_else_is_admitted(
    operator: Operator, fleet: Fleet
) -> None:
    begin(operator, fleet.api)
    fleet.join(*names(3))
    eventually(lambda: fleet.everyone_has_one(names(3)), "claimed")
    before = fleet.owners()
    network = QUILTNETWORK.path("default")
    fleet.api.merge(network, {"spec": {"clusterCIDRs": ["10.41.0.0/16"]}}).refused(422, "only be extended")
    fleet.api.merge(network, {"spec": {"nodePrefixLength": 25}}).refused(422, "nodePrefixLength", "immutable")
    more = ["10.42.0.0/16", "10.41.0.0/16"]
    fleet.api.merge(network, {"spec": {"clusterCIDRs": more}}).ok()
    operator.restart()
    eventually(operator.leads, "leads again", 60)
    fleet.join("node-4")
    eventually(lambda: fleet.claim_of("node-4"), "served")
    assert {name: fleet.owners()[name] for name in before} == before


def test_row_19_metadata_near_its_limit_does_not_stop_the_operator(operator: Operator, fleet: Fleet) -> None:
    begin(operator, fleet.api)
    note = {"metadata": {"annotations": {"example.com/note": "x" * 250_000}}}
    fleet.host("node-1")
    fleet.api.merge("/api/v1/nodes/node-1", note).ok()
    fleet.revive("node-1")
    fleet.register("node-1")
    fleet.api.merge(QUILTNODE.path("node-1"), note).ok()
    eventually(lambda: fleet.condition("node-1", "Ready") == "True/InMesh", "Ready")
    assert list(fleet.node("node-1")["metadata"]["annotations"]) == ["example.com/note"]


def test_row_20_a_duplicate_is_released_and_the_claim_in_use_stays(operator: Operator, fleet: Fleet) -> None:
    begin(operator, fleet.api)
    fleet.join("node-1")
    eventually(lambda: fleet.claim_of("node-1").get("phase") == "Up", "Up")
    fleet.register("node-1", served=["10.42.1.0/24"])
    uid = fleet.claims()["10.42.1.0/24"]["metadata"]["uid"]
    fleet.api.create(QUILTSUBNET.path(), claim("10.42.99.0/24", "node-1")).ok()
    eventually(lambda: "10.42.99.0/24" not in fleet.claims(), "the second one is given up")
    kept = fleet.claims()["10.42.1.0/24"]
    assert (kept["metadata"]["uid"], kept["mesh"]["phase"]) == (uid, "Up")


def test_row_20_a_real_agent_keeps_the_healthy_route_and_follows_a_subnet_to_its_next_owner(
    plane: ControlPlane, operator: Operator, fleet: Fleet, tmp_path: Path
) -> None:
    begin(operator, fleet.api)
    with RealNode(Plane(plane.cluster, tmp_path), "node-1", 1) as real:
        for _, path, body, _ in real.calls():
            fleet.api.create(path, body or {}).ok()
        real.start()
        fleet.join("node-2", "node-3")
        wanted = {"10.42.2.0/24", "10.42.3.0/24"}
        eventually(lambda: real.routes() == wanted, "routes to both")
        fleet.register("node-3", served=["10.42.3.0/24"])
        with real.lost_routes() as lost:
            doubled = {"phase": "Up", "hostIP": address("node-3")}
            fleet.api.create(QUILTSUBNET.path(), claim("10.42.99.0/24", "node-3", mesh=doubled)).ok()
            eventually(lambda: "10.42.99.0/24" not in fleet.claims(), "the duplicate is given up")
            fleet.leave("node-2")
            eventually(lambda: real.routes() == {"10.42.3.0/24"}, "the former owner's is gone")
            eventually(lambda: not fleet.claim_of("node-2"), "and may be given again")
            fleet.join("node-4")
            eventually(lambda: real.routes() == wanted, "routes to the next owner")
        assert "10.42.3.0/24" not in lost, "the healthy owner's route was never touched"
        assert "10.42.2.0/24" in lost, "losses are seen"
        macs = {vtep_mac("default", name): address(name) for name in ("node-3", "node-4")}
        eventually(lambda: real.vteps() == macs, "nothing of the former owner is left")


def test_a_stolen_agent_token_moves_no_other_nodes_traffic(
    plane: ControlPlane, operator: Operator, fleet: Fleet
) -> None:
    begin(operator, fleet.api)
    fleet.join("node-1")
    thief = plane.agent("node-2")
    fleet.host("node-2")
    fleet.revive("node-2")
    fleet.register("node-2")
    eventually(lambda: fleet.phase("node-1") == "Up" and fleet.phase("node-2") == "Up", "both are Up")
    before = {cidr: item["mesh"] for cidr, item in fleet.claims().items()}
    for victim_ip in (address("node-1"), "203.0.113.9"):
        claimed = thing(QUILTNODE, "node-2", status={"hostIP": victim_ip})
        thief.apply(QUILTNODE.path("node-2", "status"), claimed, AGENT_FIELD_MANAGER).ok()
        eventually(lambda: fleet.condition("node-2", "Ready") == "False/HostIPUnconfirmed", "forged")
        assert {cidr: item["mesh"] for cidr, item in fleet.claims().items()} == before
    claimed = thing(QUILTNODE, "node-1", status={"hostIP": address("node-2")})
    thief.apply(QUILTNODE.path("node-1", "status"), claimed, AGENT_FIELD_MANAGER).refused(
        403, "may only write its own"
    )
    # The VTEP MAC follows from the name in a claim: a second claim under the victim's name, or another's.
    for node in ("node-1", "node-2"):
        thief.create(QUILTSUBNET.path(), claim("10.42.50.0/24", node)).refused(403, "cannot create")
    path = QUILTSUBNET.path(claim_name("10.42.1.0/24"))
    thief.merge(path, {"mesh": {"hostIP": address("node-2")}}).refused(403, "cannot patch")
    thief.request("DELETE", path).refused(403, "cannot delete")
    thief.request("DELETE", QUILTNODE.path("node-1")).refused(403)
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{LEASE_NAMESPACE}/leases/node-1"
    thief.merge(lease, {"spec": {"renewTime": None}}).refused(403)
    assert {cidr: item["mesh"] for cidr, item in fleet.claims().items()} == before


def test_of_two_names_with_one_vtep_mac_the_second_gets_no_subnet(operator: Operator, fleet: Fleet) -> None:
    # Two names found among twelve million: nobody can choose a node's name to receive another's frames.
    first, second = "node-2244370", "node-3551971"
    assert vtep_mac("default", first) == vtep_mac("default", second)
    begin(operator, fleet.api)
    fleet.join(first)
    eventually(lambda: fleet.claim_of(first).get("phase") == "Up", "Up")
    fleet.join(second)
    eventually(
        lambda: fleet.condition(second, "SubnetAllocated") == "False/MACCollision", "reported with the reason"
    )
    assert fleet.owners() == {first: ["10.42.1.0/24"]}
    fleet.leave(first)
    eventually(lambda: fleet.claim_of(second).get("phase") == "Up", "served once the other is gone", 30)
    assert first not in fleet.owners()


def test_another_leads_within_20_seconds_of_a_kill(
    plane: ControlPlane, operator: Operator, fleet: Fleet, tmp_path: Path
) -> None:
    begin(operator, fleet.api)
    with Operator(plane, tmp_path, "standby") as standby:
        eventually(lambda: standby.logged("waiting_for_leadership"), "waits")
        operator.kill()
        fleet.join("node-1")
        eventually(lambda: fleet.phase("node-1") == "Up", "served by the other", 20)
        standby.terminate()


def test_row_15_two_leaders_late_news_conflicts_and_kills_between_writes_give_no_subnet_twice() -> None:
    program = [
        sys.executable,
        "-m",
        "bench.control_plane",
        "chaos",
        "--cycles=60",
        "--kill=0.005",
        "--kills=2",
        "--no-save",
    ]
    done = subprocess.run(program, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert ": 0 wrong" in done.stdout
    kills = int(done.stdout.rpartition(" kills")[0].split()[-1])
    assert kills >= 2, "the run was not tormented"
