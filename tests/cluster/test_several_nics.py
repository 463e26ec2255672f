"""Nodes with a second NIC in a network of its own, which the chart's values choose for the mesh."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.fresh import fresh_cluster
from tests.support.mesh import Mesh, install, install_chart, rolled_out, until

NETWORK = "198.19.77"
CHOICE = (f"network.underlay.cidrs={{{NETWORK}.0/24}}", r"network.underlay.interface=nic9\,nic*")


@pytest.fixture(scope="module")
def wired() -> Iterator[Mesh]:
    """Two nodes whose second NICs are joined by a wire of their own; the chart names them."""
    with fresh_cluster("nics", nodes=2) as cluster:
        mesh = Mesh(cluster)
        one, other = (str(cluster.node_pid(node)) for node in cluster.nodes)
        wire = ["ip", "link", "add", "nic7", "netns", one, "type", "veth", "peer", "nic7", "netns", other]
        subprocess.run(wire, check=True)
        for number, node in enumerate(cluster.nodes, 1):
            mesh.on(node, "ip", "address", "add", f"{NETWORK}.{number}/24", "dev", "nic7")
            mesh.on(node, "ip", "link", "set", "nic7", "up")
        install(mesh, *CHOICE)
        yield mesh


def hosts(mesh: Mesh) -> dict[str, str]:
    """{node: the address that its peers send to}."""
    return {node: claim["mesh"].get("hostIP", "") for node, claim in mesh.subnets().items()}


def carried(mesh: Mesh, node: str) -> int:
    """How many packets left a node by its second NIC."""
    return int(mesh.on(node, "cat", "/sys/class/net/nic7/statistics/tx_packets"))


def test_the_mesh_uses_the_chosen_nics_and_then_the_first_ones_again(wired: Mesh) -> None:
    """At once with the install; a choice that is taken back is followed without a restart of any Pod."""
    nodes = wired.nodes()
    assert hosts(wired) == {node: f"{NETWORK}.{number}" for number, node in enumerate(nodes, 1)}
    source, target = wired.start_pods({f"wired-{node}": node for node in nodes}).values()
    before = [carried(wired, node) for node in nodes]
    assert wired.http(source, target.ip) == target.name
    assert all(carried(wired, node) > count for node, count in zip(nodes, before, strict=True))

    agents = {node: wired.system_pod("node", node)["metadata"]["uid"] for node in nodes}
    install_chart(wired)
    first = {node: wired.cluster.node_ip(node) for node in nodes}
    until("the nodes are back on their InternalIP", lambda: hosts(wired) == first, timeout=60)
    rolled_out(wired)
    until("pods reach each other", lambda: wired.http(source, target.ip) == target.name, timeout=120)
    assert {node: wired.system_pod("node", node)["metadata"]["uid"] for node in nodes} == agents


def test_a_choice_that_no_node_has_changes_no_address_and_is_reported(wired: Mesh) -> None:
    before = hosts(wired)
    install_chart(wired, "network.underlay.interface=absent0")
    try:
        for node in wired.nodes():
            refusal = until(f"{node} says so", lambda node=node: _refusal(wired, node), timeout=60)
            assert "absent0" in refusal
        assert hosts(wired) == before
    finally:
        install_chart(wired)
    rolled_out(wired)


def _refusal(mesh: Mesh, node: str) -> str:
    condition = mesh.condition(node, "DataplaneInSync")
    return str(condition["message"]) if condition["status"] == "False" else ""
