"""What somebody deletes on a node comes back at once, is counted, logged and reported by few Events."""

from __future__ import annotations

import time

import pytest

from quilt_events.ration import MOST
from tests.support.mesh import NAMESPACE, SOON, Mesh, Pod, kernel_state, until
from tests.support.node_events import node_events

# iproute2 6.1 refuses to flush routes that go by a nexthop object ("Invalid argument"): then one by one.
FLUSH = "ip route flush dev vxlan100 2>/dev/null"
ONE_BY_ONE = "ip route show dev vxlan100 | while read prefix _; do ip route del $prefix; done"

# (what is done to the node, container that mends it, its metrics port)
DAMAGE = {
    "device": ("ip link del vxlan100", "agent", 9470),
    "bridge": ("ip link del quilt0", "runtime", 9471),
    "routes": (f"{FLUSH} || {ONE_BY_ONE}", "agent", 9470),
    "fdb": ("bridge fdb flush dev vxlan100", "agent", 9470),
    "neighbours": ("ip neigh flush dev vxlan100 nud permanent", "agent", 9470),
    "nftables": ("nft delete table inet quilt", "runtime", 9471),
    "ip_forward": ("sysctl -qw net.ipv4.ip_forward=0", "runtime", 9471),
}


def repairs(mesh: Mesh, node: str, port: int) -> float:
    """The sum of the repair counters that a container serves."""
    metrics = mesh.on(node, "curl", "-sf", f"http://127.0.0.1:{port}/metrics")
    lines = [line for line in metrics.splitlines() if "drift_repairs_total{" in line]
    return sum(float(line.split()[-1]) for line in lines)


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_heals(mesh: Mesh, pods: dict[str, Pod], what: str) -> None:
    command, container, port = DAMAGE[what]
    victim, other = list(pods.values())[:2]
    node = victim.node
    before = kernel_state(mesh, node)
    counted = repairs(mesh, node, port)
    began = time.time()
    mesh.on(node, "sh", "-c", command)
    healed = f"the state of before is back after `{command}`"
    until(healed, lambda: kernel_state(mesh, node) == before, SOON, 0.05)
    assert mesh.reaches(other.node, f"http://{victim.ip}:8080/")
    assert mesh.reaches(node, f"http://{other.ip}:8080/")
    until("the repair is counted", lambda: repairs(mesh, node, port) > counted, SOON)
    agent = mesh.system_pod("node", node)["metadata"]["name"]

    def logged() -> bool:
        since = f"--since={int(time.time() - began) + 12}s"
        return "drift_repaired" in mesh.kubectl("logs", "-n", NAMESPACE, agent, "-c", container, since)

    until("the repair is logged", logged, timeout=120)


def test_a_storm_of_drift_is_reported_by_few_events(mesh: Mesh, pods: dict[str, Pod]) -> None:
    """They are about the QuiltNode and name the kinds; what comes again in ten minutes is counted."""
    node = list(pods.values())[-1].node
    before = node_events(mesh, "DriftRepaired", node)
    state = kernel_state(mesh, node)
    for what in ("routes", "fdb", "neighbours", "nftables") * 4:
        mesh.on(node, "sh", "-c", DAMAGE[what][0])
        until(f"{what} are repaired", lambda: kernel_state(mesh, node) == state, SOON, 0.05)

    def reported() -> bool:
        text = " ".join(node_events(mesh, "DriftRepaired", node).values())
        return all(kind in text for kind in ("route", "fdb", "neighbour", "table"))

    # What the runtime repaired the agent learns when it asks the next time.
    until("Events name what was repaired", reported, 3 * SOON)
    assert len(node_events(mesh, "DriftRepaired", node).keys() - before) <= MOST
