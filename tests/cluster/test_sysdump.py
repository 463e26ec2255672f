"""`quiltctl sysdump` on a cluster: complete where nodes live, says what it lacks, and holds no secret."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quilt_cli.archive_file import read_archive
from quilt_cli.core.redaction import MASK
from quilt_cli.core.sysdump import Index
from tests.support.commands import document, quiltctl
from tests.support.mesh import NAMESPACE, Mesh, Pod, all_up, pod_manifest, until
from tests.support.node_life import container_pid

SECRET = "planted-7f3a9c"
TOKEN = f"eyJhbGciOiJub25lIn0.{SECRET}.c2lnbmF0dXJl"
# What is asked of each node.
PARTS = {"kernel.json", "agent-metrics.txt", "runtime-metrics.txt", "latency.json", "check.json"}


def archive(path: Path) -> tuple[Index, dict[str, bytes]]:
    assert path.stat().st_mode & 0o777 == 0o600
    index, files = read_archive(path)
    return index, dict(files)


def whole(mesh: Mesh, path: Path, *flags: str) -> None:
    """Write an archive that lacks nothing.

    Not at once after an install: API servers refuse lists of new kinds for a moment.
    """
    command = ("sysdump", "-f", str(path), *flags)
    until("the archive is whole", lambda: quiltctl(mesh, *command).returncode == 0, timeout=60, every=1)


def counted(mesh: Mesh) -> bool:
    """Whether the QuiltNetwork counts each node's subnet: after an install it is the last to be written."""
    status = mesh.get("quiltnetwork", "default").get("status", {})
    return bool(status.get("subnets", {}).get("allocated") == len(mesh.nodes()))


def test_a_sound_mesh_is_whole_and_read_as_the_cluster_is(mesh: Mesh, tmp_path: Path) -> None:
    until("every node is in sync", lambda: all_up(mesh), timeout=120, every=0.5)
    until("all subnets are counted", lambda: counted(mesh), timeout=60, every=0.5)
    path = tmp_path / "dump.tar.gz"
    whole(mesh, path)
    index, files = archive(path)
    assert sorted(index.nodes.values()) == mesh.nodes()
    for node in mesh.nodes():
        assert {name.rpartition("/")[2] for name in files if name.startswith(f"nodes/{node}/")} == PARTS
        assert b'"vxlan100"' in files[f"nodes/{node}/kernel.json"]
        assert b"quilt_agent_" in files[f"nodes/{node}/agent-metrics.txt"]
        pod = mesh.system_pod("node", node)["metadata"]["name"]
        assert files[f"pods/{pod}/agent.log"]
    assert any(name.endswith("/metrics.txt") and b"quilt_operator" in files[name] for name in files)
    for command in (("status",), ("check",)):
        live = quiltctl(mesh, *command)
        kept = quiltctl(mesh, *command, "--from", str(path))
        assert (kept.stdout, kept.returncode) == (live.stdout, live.returncode)
    measured = document(quiltctl(mesh, "latency", "--from", str(path), "-o", "json"))
    assert measured["nodes"] == mesh.nodes()


@contextmanager
def service(mesh: Mesh) -> Iterator[str]:
    """The address of a Service of the shared pods, at port 80."""
    spec = {"selector": {"app": "traffic"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    mesh.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "archived"}, "spec": spec})
    try:
        yield mesh.get("service", "archived")["spec"]["clusterIP"]
    finally:
        mesh.kubectl("delete", "service", "archived")


def steps(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps but for what was found, which may be older in one of two looks: a neighbor that is STALE."""
    return [{name: value for name, value in step.items() if name != "found"} for step in found["steps"]]


def test_a_trace_of_the_archive_has_the_steps_of_the_cluster(
    mesh: Mesh, pods: dict[str, Pod], tmp_path: Path
) -> None:
    source, target = list(pods.values())[:2]
    path, half = tmp_path / "dump.tar.gz", tmp_path / "half.tar.gz"
    with service(mesh) as address:
        to_service = (f"default/{source.name}", address, "--port=80")

        def known() -> bool:
            """Once the endpoints are known and kube-proxy has them."""
            return quiltctl(mesh, "trace", *to_service, "--no-probe").returncode == 0

        until("the way to the Service is sound", known, timeout=60, every=1)
        whole(mesh, path)
        for ends in (
            to_service,
            (f"default/{source.name}", f"default/{target.name}", "--port=8080"),
            (target.node, source.node),
        ):
            live = document(quiltctl(mesh, "trace", *ends, "--no-probe", "-o", "json"))
            kept = document(quiltctl(mesh, "trace", *ends, "--from", str(path), "-o", "json"))
            assert kept["taken"]
            assert steps(kept) == steps(live)
            assert kept["sound"]
    whole(mesh, half, "--node", source.node)
    unknown = quiltctl(mesh, "trace", source.ip, target.ip, "--from", str(half))
    assert f"{target.node} is not in the archive" in unknown.stdout
    assert unknown.returncode == 2


@contextmanager
def planted(mesh: Mesh, node: str) -> Iterator[None]:
    """A Secret, pods of the mesh and of others that have one, and a token in the log of a node's agent."""
    mesh.kubectl("create", "secret", "generic", "planted", "-n", NAMESPACE, f"--from-literal=key={SECRET}")
    labels = {"app.kubernetes.io/name": "quilt-mesh", "app.kubernetes.io/component": "operator"}
    pod = pod_manifest("planted", node, labels)
    pod["spec"]["containers"][0]["env"].append({"name": "PLANTED", "value": SECRET})
    others = pod_manifest("stranger", node, {"app": "stranger"})
    others["metadata"]["annotations"] = {"note": SECRET}
    others["spec"]["containers"][0]["args"] = [SECRET]
    mesh.apply(pod, others)
    _, process = container_pid(mesh, mesh.system_pod("node", node), "agent")
    mesh.on(node, "sh", "-c", f"echo 'Authorization: Bearer {TOKEN}' > /proc/{process}/fd/1")
    try:
        yield
    finally:
        mesh.kubectl("delete", "secret", "planted", "-n", NAMESPACE)
        mesh.delete_pods("planted", "stranger")


@contextmanager
def hung(mesh: Mesh, node: str) -> Iterator[None]:
    """The agent of a node stopped in its tracks."""
    _, process = container_pid(mesh, mesh.system_pod("node", node), "agent")
    mesh.on(node, "kill", "-STOP", str(process))
    try:
        yield
    finally:
        mesh.on(node, "kill", "-CONT", str(process), check=False)


@contextmanager
def silent(mesh: Mesh, node: str) -> Iterator[None]:
    """A node that is there, and does not answer: its kubelet hangs."""
    mesh.cluster.pause_program(f"{node}.kubelet")
    try:
        yield
    finally:
        mesh.cluster.resume_program(f"{node}.kubelet")


def test_a_silent_node_and_a_hung_agent_are_named_and_no_secret_is_in_it(mesh: Mesh, tmp_path: Path) -> None:
    """Must show: exit 1, says what it lacks, the rest is whole; secrets that were planted are not in it."""
    sound, dead, stopped, *_ = mesh.nodes()
    path = tmp_path / "dump.tar.gz"
    with planted(mesh, sound), hung(mesh, stopped), silent(mesh, dead):
        # A minute is what the command promises; of a busy machine more is borne.
        done = quiltctl(mesh, "sysdump", "-f", str(path), "-o", "json", timeout=300)
    assert done.returncode == 1, done.stderr
    named = {item["object"]: item["message"] for item in document(done)["findings"]}
    assert "agent metrics" in named[f"Node {stopped}"]
    assert f"Node {dead}" in named
    index, files = archive(path)
    assert {f"Node {stopped}", f"Node {dead}"} <= {item.about for item in index.missing}
    assert {name.rpartition("/")[2] for name in files if name.startswith(f"nodes/{sound}/")} == PARTS
    assert f"nodes/{stopped}/kernel.json" in files
    assert f"nodes/{dead}/kernel.json" not in files
    content = gzip.decompress(path.read_bytes())
    assert SECRET.encode() not in content
    assert b'"PLANTED"' in content
    log = files[f"pods/{mesh.system_pod('node', sound)['metadata']['name']}/agent.log"]
    assert MASK.encode() in log
    assert quiltctl(mesh, "status", "--from", str(path)).stdout
    until("every node is in sync", lambda: all_up(mesh), timeout=120, every=0.5)
