"""A node dies, returns, and is removed for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.mesh import NAMESPACE, SOON, Mesh, Pod, all_up, in_sync, until
from tests.support.node_life import phases, renewals


def entries_of(mesh: Mesh, node: str, subnet: str, host: str) -> str:
    """What a node's kernel holds of a peer: its route, nexthop, FDB entry and neighbour."""
    vtep = subnet.removesuffix("/24")
    script = (
        f"ip route show {subnet}; ip nexthop show dev vxlan100 | grep -w {vtep};"
        f"ip neigh show dev vxlan100 | grep -w {vtep}; bridge fdb show dev vxlan100 | grep -w {host}; true"
    )
    return mesh.on(node, "sh", "-c", script)


@contextmanager
def operators_logged(mesh: Mesh) -> Iterator[None]:
    """Add to a failure within the block where the operators run and what they logged."""
    try:
        yield
    except AssertionError as error:
        chosen = ("-n", NAMESPACE, "-l", "app.kubernetes.io/component=operator")
        where = mesh.kubectl("get", "pods", *chosen, "-o", "wide")
        logs = mesh.kubectl("logs", *chosen, "--prefix", "--tail=40", "--ignore-errors")
        raise AssertionError(f"{error}\n{where}\n{logs}") from error


def test_a_dead_node_is_withdrawn_and_comes_back_with_its_subnet(
    mesh: Mesh, pods: dict[str, Pod], victim: str
) -> None:
    claim = mesh.subnets()[victim]
    subnet, host = claim["spec"]["cidr"], claim["mesh"]["hostIP"]
    assert all(entries_of(mesh, node, subnet, host) for node in pods)
    with phases(mesh, victim) as seen:
        until("the watch runs", lambda: "Up" in seen, timeout=120)
        mesh.cluster.kill_node(victim)
        last = max(renewals(mesh, victim))
        with operators_logged(mesh):
            until("the node is Down", lambda: "Down" in seen, timeout=60, every=0.05)
        for node in pods:
            until(f"{node} forgets", lambda n=node: not entries_of(mesh, n, subnet, host), SOON, 0.05)
    assert seen["Down"] - last >= 20
    mesh.cluster.start_node(victim)
    returned(mesh, pods, victim, subnet)


def returned(mesh: Mesh, pods: dict[str, Pod], victim: str, subnet: str) -> None:
    """Once started, the node is reachable again under the same subnet."""

    def reachable() -> bool:
        return in_sync(mesh.quiltnode(victim)) and all(
            subnet in mesh.on(node, "ip", "route", "show", "dev", "vxlan100") for node in pods
        )

    until("the node is back", reachable, timeout=120, every=0.2)
    assert mesh.subnets()[victim]["spec"]["cidr"] == subnet
    again = mesh.start_pods({"again": victim})["again"]
    for pod in pods.values():
        assert mesh.http(pod, again.ip) == "again"
    mesh.delete_pods("again")


def test_a_removed_node_frees_its_subnet_after_the_grace_period(
    mesh: Mesh, pods: dict[str, Pod], victim: str
) -> None:
    claim = mesh.subnets()[victim]
    name, subnet = claim["metadata"]["name"], claim["spec"]["cidr"]
    mesh.cluster.remove_node(victim)
    mesh.kubectl("delete", "node", victim, "--ignore-not-found")
    mesh.kubectl("delete", "quiltnode", victim, "--ignore-not-found")

    def phase() -> str:
        found: dict[str, Any] = mesh.get("quiltsubnet", name)
        return str(found["mesh"]["phase"])

    until("the claim is Releasing", lambda: phase() == "Releasing", timeout=120)
    for node in pods:
        until(
            f"{node} forgets",
            lambda n=node: subnet not in mesh.on(n, "ip", "route", "show", "dev", "vxlan100"),
            SOON,
        )

    def gone() -> bool:
        return mesh.kubectl("get", "quiltsubnet", name, "--ignore-not-found") == ""

    until("the claim is gone after the grace period", gone, timeout=120, every=0.5)
    added = mesh.cluster.add_node()
    until("the new node is Up", lambda: all_up(mesh), timeout=120, every=0.5)
    assert mesh.subnets()[added]["spec"]["cidr"] == subnet
