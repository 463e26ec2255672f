"""`quiltctl` against the real cluster: what it says of a healthy mesh, and of one that is not."""

from __future__ import annotations

import json
from typing import Any

from tests.support.commands import QUILTCTL, document, quiltctl
from tests.support.mesh import NAMESPACE, Mesh, until


def test_status_of_a_healthy_mesh(mesh: Mesh) -> None:
    def healthy() -> dict[str, Any] | None:
        done = quiltctl(mesh, "status", "-o", "json")
        found = document(done)
        return found if done.returncode == 0 and found["healthy"] else None

    found = until("the status is healthy", healthy, timeout=60, every=1)
    assert [node["name"] for node in found["nodes"]] == mesh.nodes()
    peers = len(mesh.nodes()) - 1
    assert all(node["peers"] == {"expected": peers, "inSync": True} for node in found["nodes"])
    assert found["notLookedAt"] == {}
    shown = quiltctl(mesh, "status").stdout
    assert f"{peers}/{peers} in sync" in shown


def test_check_of_the_cluster_after_the_install(mesh: Mesh) -> None:
    def passed() -> dict[str, Any] | None:
        """Not at once: it wants every pod of the chart to be ready, which the status does not."""
        done = quiltctl(mesh, "check", "-o", "json")
        return document(done) if done.returncode == 0 else None

    found = until("the check passes", passed, timeout=60, every=1)
    assert found["subject"] == "cluster (post-install)"
    assert found["summary"]["fail"] == 0


def test_check_before_an_install_tells_overlapping_ranges(mesh: Mesh) -> None:
    address = mesh.quiltnode(mesh.nodes()[0])["hostIP"]
    done = quiltctl(mesh, "check", "--pre", "--cluster-cidr", f"{address}/32", "-o", "json")
    codes = {item["code"] for item in document(done)["findings"] if item["level"] == "fail"}
    assert done.returncode == 1
    assert codes == {"node-overlap"}


def test_check_of_every_node_from_its_own_agent(mesh: Mesh) -> None:
    for node in mesh.nodes():
        pod = mesh.system_pod("node", node)["metadata"]["name"]
        inside = (
            "exec",
            "-n",
            NAMESPACE,
            pod,
            "-c",
            "agent",
            "--",
            "quiltctl",
            "check",
            "node",
            "-o",
            "json",
        )
        found = json.loads(mesh.kubectl(*inside))
        assert found["healthy"], found["findings"]


def test_check_of_every_node_by_pods(mesh: Mesh) -> None:
    done = quiltctl(mesh, "check", "--nodes", "-o", "json")
    found = document(done)
    assert done.returncode == 0, found["findings"]
    looked = {item["object"] for item in found["findings"] if item["code"] == "kernel"}
    assert looked == {f"node {name}" for name in mesh.nodes()}


def test_status_from_inside_an_agent_has_few_rights_and_works(mesh: Mesh) -> None:
    inside = ("exec", "-n", NAMESPACE, "ds/quilt-mesh", "-c", "agent", "--", "quiltctl", "status")
    shown = mesh.kubectl(*inside)
    assert "the mesh is healthy" in shown
    assert "not looked at: daemonsets, deployments, nodes, pods (no permission)" in shown


def test_row_26_connectivity_in_every_direction_needs_no_internet(mesh: Mesh) -> None:
    done = quiltctl(mesh, "connectivity", "test", "-o", "json")
    found = document(done)
    assert done.returncode == 0, found["findings"]
    nodes = mesh.nodes()
    pairs = {(item["from"], item["label"]) for item in found["results"] if item["way"] == "udp"}
    assert pairs == {(source, target) for source in nodes for target in nodes}
    assert {item["way"] for item in found["results"]} == {"tcp", "udp", "knock", "name"}
    assert {item["mtu"] for item in found["results"] if item["way"] == "udp"} == {1450}


def test_paths_between_two_nodes_are_measured(mesh: Mesh) -> None:
    source, target = mesh.nodes()[:2]
    ends = ("--from", source, "--to", target)
    done = quiltctl(mesh, "connectivity", "perf", *ends, "--host", "--seconds", "1", "-o", "json")
    found = document(done)
    assert done.returncode == 0, found["findings"]
    paths = [(item["from"], item["to"], item["host"]) for item in found["results"]]
    assert paths == [(source, target, False), (target, target, False), (source, target, True)]
    assert all(item["bytes"] and item["requests"] for item in found["results"])


def test_the_connectivity_test_leaves_nothing(mesh: Mesh) -> None:
    def gone() -> bool:
        return not mesh.get("namespaces", "-l", "app.kubernetes.io/part-of=quilt-connectivity")["items"]

    until("its namespace is gone", gone, timeout=60, every=0.5)


def test_status_tells_an_operator_that_does_not_run(mesh: Mesh) -> None:
    replicas = mesh.get("deploy", "quilt-operator", "-n", NAMESPACE)["spec"]["replicas"]
    scale = ("scale", "deploy/quilt-operator", "-n", NAMESPACE)
    mesh.kubectl(*scale, "--replicas=0")
    try:

        def is_reported() -> bool:
            done = quiltctl(mesh, "status", "-o", "json")
            codes = [item["code"] for item in document(done)["findings"]]
            return done.returncode == 1 and codes == ["operator-not-ready"]

        until("status says that no operator is ready", is_reported, timeout=60, every=0.5)
    finally:
        mesh.kubectl(*scale, f"--replicas={replicas}")
        mesh.kubectl("rollout", "status", "deploy/quilt-operator", "-n", NAMESPACE, "--timeout=120s")


def test_clean_up_refuses_while_the_mesh_runs(mesh: Mesh) -> None:
    node = mesh.nodes()[0]
    done = mesh.cluster.exec(node, [QUILTCTL, "cleanup", "--yes"], check=False)
    assert done.returncode == 2
    assert "helm uninstall" in done.stderr
    shown = mesh.cluster.exec(node, [QUILTCTL, "cleanup", "--dry-run", "-o", "json"], check=False)
    kinds = {item["kind"] for item in json.loads(shown.stdout)["leftovers"]}
    assert kinds >= {"file", "routes", "nexthops", "link", "nftables", "state"}
    assert mesh.on(node, "ip", "link", "show", "vxlan100")
