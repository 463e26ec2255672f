"""Claims of nodes that move, exchange addresses, or lose an object by mistake, on a real API server."""

from __future__ import annotations

from quilt_crds.names import AGENT_FIELD_MANAGER, QUILTNODE
from tests.support.controlplane import thing
from tests.support.operators import Fleet, Operator, address, eventually, names

OLD, NEW = "10.42.1.0/24", "10.42.100.0/24"


def mesh(fleet: Fleet, node: str) -> dict[str, str]:
    """Phase and host address of a node's only claim."""
    claim = fleet.claim_of(node)
    return {key: claim.get(key, "") for key in ("phase", "hostIP")}


def up(host_ip: str) -> dict[str, str]:
    return {"phase": "Up", "hostIP": host_ip}


def move(fleet: Fleet, node: str, host_ip: str) -> None:
    """Kubelet and agent tell another address."""
    status = {"status": {"addresses": [{"type": "InternalIP", "address": host_ip}]}}
    fleet.api.merge(f"/api/v1/nodes/{node}/status", status).ok()
    fleet.register(node, host_ip=host_ip)


def test_a_claim_in_use_stays_up_until_the_runtime_serves_the_new_one(
    operator: Operator, fleet: Fleet
) -> None:
    """t1: A claim in use stays Up, and SubnetInUse says to drain, until the runtime serves the new subnet."""
    fleet.join("node-1")
    fleet.register("node-1", served=[OLD])
    eventually(lambda: mesh(fleet, "node-1") == up(address("node-1")), "Up")
    fleet.api.merge(QUILTNODE.path("node-1"), {"spec": {"subnet": NEW}}).ok()
    eventually(lambda: fleet.condition("node-1", "SubnetInUse") == "True/DrainFirst", "asked to drain")
    phases = {cidr: claim["mesh"]["phase"] for cidr, claim in fleet.claims().items()}
    assert phases == {OLD: "Up", NEW: "Up"}
    assert fleet.node("node-1")["status"]["subnets"] == [OLD, NEW]
    fleet.join("node-2")
    eventually(lambda: fleet.claim_of("node-2").get("cidr") == "10.42.2.0/24", "never the one in use")
    fleet.register("node-1", served=[NEW])
    eventually(lambda: fleet.claims()[OLD]["mesh"]["phase"] == "Releasing", "released")
    eventually(lambda: fleet.condition("node-1", "SubnetInUse") == "", "nothing to do any more")
    assert fleet.claims()[NEW]["mesh"]["phase"] == "Up"


def test_a_status_field_that_a_crd_does_not_have_is_refused_in_these_words(fleet: Fleet) -> None:
    fleet.join("node-1")
    body = thing(QUILTNODE, "node-1", status={"hostIP": address("node-1"), "unheardOf": [OLD]})
    answer = fleet.api.apply(QUILTNODE.path("node-1", "status"), body, AGENT_FIELD_MANAGER)
    assert answer.status >= 400
    assert ".status.unheardOf: field not declared in schema" in answer.message, "which an agent looks for"


def test_nodes_that_exchange_and_pass_on_their_addresses_are_all_up(operator: Operator, fleet: Fleet) -> None:
    """t3: Nodes that swap their host addresses, or pass them on in a chain, are all published again."""
    fleet.join(*names(3))
    for name in names(3):
        eventually(lambda n=name: mesh(fleet, n) == up(address(n)), f"{name} is Up")
    move(fleet, "node-1", address("node-2"))
    move(fleet, "node-2", address("node-1"))
    eventually(lambda: mesh(fleet, "node-1") == up(address("node-2")), "node-1 has node-2's")
    eventually(lambda: mesh(fleet, "node-2") == up(address("node-1")), "node-2 has node-1's")
    move(fleet, "node-1", address("node-3"))
    move(fleet, "node-3", "192.168.9.9")
    eventually(lambda: mesh(fleet, "node-1") == up(address("node-3")), "node-1 has node-3's")
    eventually(lambda: mesh(fleet, "node-3") == up("192.168.9.9"), "node-3 has a new one")


def test_a_machine_under_another_name_gets_its_address_once_the_former_is_down(
    operator: Operator, fleet: Fleet
) -> None:
    """t3: Who lost a conflict over a host address gets it when its holder is Down, without a restart."""
    fleet.join(*names(3))
    eventually(lambda: mesh(fleet, "node-1") == up(address("node-1")), "Up")
    fleet.host("node-4")
    fleet.revive("node-4")
    move(fleet, "node-4", address("node-1"))
    eventually(lambda: fleet.condition("node-4", "Ready") == "False/HostIPConflict", "taken")
    fleet.silence("node-1")
    eventually(lambda: fleet.claim_of("node-1")["phase"] == "Down", "the former is Down")
    eventually(lambda: mesh(fleet, "node-4") == up(address("node-1")), "handed on")


def test_a_quiltnode_deleted_with_a_finalizer_stays_served_while_its_node_exists(
    operator: Operator, fleet: Fleet
) -> None:
    """t28: A QuiltNode that is going, and one that is gone, keeps its claim while the Node exists."""
    fleet.join(*names(3))
    eventually(lambda: mesh(fleet, "node-1") == up(address("node-1")), "Up")
    path = QUILTNODE.path("node-1")
    fleet.api.merge(path, {"metadata": {"finalizers": ["quilt.io/test"]}}).ok()
    fleet.api.request("DELETE", path).ok()
    move(fleet, "node-1", "192.168.9.1")
    eventually(lambda: mesh(fleet, "node-1") == up("192.168.9.1"), "served while it drains")
    fleet.api.merge(path, {"metadata": {"finalizers": []}}).ok()
    assert fleet.api.get(path).status == 404
    fleet.silence("node-1")
    eventually(lambda: mesh(fleet, "node-1")["phase"] == "Down", "withdrawn as any node that is silent")
    fleet.revive("node-1")
    eventually(lambda: mesh(fleet, "node-1") == up("192.168.9.1"), "and back")


def test_a_node_deleted_with_a_finalizer_is_released_when_it_is_gone(
    operator: Operator, fleet: Fleet
) -> None:
    """t28: A Node that is deleted in the foreground keeps its claim until it is gone."""
    fleet.join(*names(3))
    eventually(lambda: mesh(fleet, "node-1") == up(address("node-1")), "Up")
    path = "/api/v1/nodes/node-1"
    fleet.api.merge(path, {"metadata": {"finalizers": ["quilt.io/test"]}}).ok()
    fleet.api.request("DELETE", f"{path}?propagationPolicy=Foreground").ok()
    fleet.api.request("DELETE", QUILTNODE.path("node-1")).ok()
    fleet.silence("node-1")
    eventually(lambda: mesh(fleet, "node-1")["phase"] == "Down", "still its own, and judged")
    fleet.revive("node-1")
    eventually(lambda: mesh(fleet, "node-1") == up(address("node-1")), "and back")
    fleet.api.merge(path, {"metadata": {"finalizers": []}}).ok()
    eventually(lambda: mesh(fleet, "node-1")["phase"] == "Releasing", "gone")
