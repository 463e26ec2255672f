"""Where operators run when nodes are cordoned, drained or dead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from quilt_devcluster import DevclusterError
from tests.support.mesh import NAMESPACE, Mesh, Pod, all_up, until

OPERATORS = ("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=operator")


def placed(mesh: Mesh) -> dict[str, str]:
    """{node: operator Pod that is Ready there and not going}."""
    found = {}
    for pod in mesh.get(*OPERATORS)["items"]:
        conditions = {item["type"]: item["status"] for item in pod["status"].get("conditions", [])}
        if conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]:
            found[pod["spec"]["nodeName"]] = pod["metadata"]["name"]
    return found


def two(mesh: Mesh, *, without: str = "") -> dict[str, str]:
    """Both operators once they are Ready, none of them on the node `without`."""

    def both() -> dict[str, str] | None:
        there = placed(mesh)
        return there if len(there) == 2 and without not in there else None

    return until(f"two operators are Ready, none on {without or 'no node'}", both, timeout=300, every=1.0)


@pytest.fixture
def uncordoned(mesh: Mesh) -> Iterator[None]:
    """Every node accepts Pods again afterwards."""
    yield
    for node in mesh.nodes():
        mesh.kubectl("uncordon", node)


@pytest.mark.usefixtures("uncordoned")
def test_an_operator_does_not_return_to_a_cordoned_node(mesh: Mesh) -> None:
    """u4: An operator that leaves a cordoned node starts on another, never on the cordoned one."""
    node, pod = next(iter(two(mesh).items()))
    mesh.kubectl("cordon", node)
    mesh.kubectl("delete", "pod", "-n", NAMESPACE, pod)
    two(mesh, without=node)
    every = [item["spec"].get("nodeName") for item in mesh.get(*OPERATORS)["items"]]
    assert node not in every


def test_evictions_take_one_operator_at_a_time(mesh: Mesh) -> None:
    """u4: While one operator is being replaced, the disruption budget refuses to evict the other."""
    first, second = two(mesh).values()
    evict(mesh, first)
    with pytest.raises(DevclusterError, match="disruption budget"):
        evict(mesh, second)
    two(mesh)


def evict(mesh: Mesh, pod: str) -> None:
    """Ask for an eviction, as a drain does."""
    body: dict[str, Any] = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    mesh.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


@pytest.mark.usefixtures("uncordoned")
def test_the_operator_of_a_dead_node_runs_elsewhere(mesh: Mesh, pods: dict[str, Pod]) -> None:
    """u4: The operator of a node that died runs on another one within 5 minutes."""
    spare = next((node for node in mesh.nodes() if node not in pods), None) or mesh.cluster.add_node()
    until("every node is Up", lambda: all_up(mesh), timeout=120, every=0.5)
    there = two(mesh)
    if spare not in there:
        for node in pods:
            mesh.kubectl("cordon", node)
        mesh.kubectl("delete", "pod", "-n", NAMESPACE, next(iter(there.values())))
        until("an operator is on the spare node", lambda: spare in two(mesh), timeout=120, every=1.0)
        for node in pods:
            mesh.kubectl("uncordon", node)
    mesh.cluster.kill_node(spare)
    try:
        two(mesh, without=spare)
    finally:
        mesh.cluster.start_node(spare)
    until("every node is Up again", lambda: all_up(mesh), timeout=120, every=0.5)
