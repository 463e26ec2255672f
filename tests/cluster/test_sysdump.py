"""`quiltctl sysdump` on a cluster: complete where nodes live, says what it lacks, and holds no secret."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quilt_cli.archive_file import read_archive
from quilt_cli.core.redaction import MASK
from quilt_cli.core.sysdump import Index
from tests.support.commands import document, quiltctl
from tests.support.mesh import NAMESPACE, Mesh, all_up, pod_manifest, until
from tests.support.node_life import container_pid

SECRET = "planted-7f3a9c"
TOKEN = f"eyJhbGciOiJub25lIn0.{SECRET}.c2lnbmF0dXJl"
# What is asked of each node.
PARTS = {"kernel.json", "agent-metrics.txt", "runtime-metrics.txt", "latency.json"}


def archive(path: Path) -> tuple[Index, dict[str, bytes]]:
    assert path.stat().st_mode & 0o777 == 0o600
    index, files = read_archive(path)
    return index, dict(files)


def test_a_sound_mesh_is_whole_and_read_as_the_cluster_is(mesh: Mesh, tmp_path: Path) -> None:
    until("every node is in sync", lambda: all_up(mesh), timeout=120, every=0.5)
    path = tmp_path / "dump.tar.gz"

    def whole() -> bool:
        """Not at once after an install: API servers refuse lists of new kinds for a moment."""
        return quiltctl(mesh, "sysdump", "-f", str(path)).returncode == 0

    until("the archive is whole", whole, timeout=60, every=1)
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
def planted(mesh: Mesh, node: str) -> Iterator[None]:
    """A Secret, a pod of the mesh with one in its environment, and a token in the log of a node's agent."""
    mesh.kubectl("create", "secret", "generic", "planted", "-n", NAMESPACE, f"--from-literal=key={SECRET}")
    labels = {"app.kubernetes.io/name": "quilt-mesh", "app.kubernetes.io/component": "operator"}
    pod = pod_manifest("planted", node, labels)
    pod["spec"]["containers"][0]["env"].append({"name": "PLANTED", "value": SECRET})
    mesh.apply(pod)
    _, process = container_pid(mesh, mesh.system_pod("node", node), "agent")
    mesh.on(node, "sh", "-c", f"echo 'Authorization: Bearer {TOKEN}' > /proc/{process}/fd/1")
    try:
        yield
    finally:
        mesh.kubectl("delete", "secret", "planted", "-n", NAMESPACE)
        mesh.delete_pods("planted")


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
    whole, dead, stopped, *_ = mesh.nodes()
    path = tmp_path / "dump.tar.gz"
    with planted(mesh, whole), hung(mesh, stopped), silent(mesh, dead):
        # A minute is what the command promises; of a busy machine more is borne.
        done = quiltctl(mesh, "sysdump", "-f", str(path), "-o", "json", timeout=300)
    assert done.returncode == 1, done.stderr
    named = {item["object"]: item["message"] for item in document(done)["findings"]}
    assert "agent metrics" in named[f"Node {stopped}"]
    assert f"Node {dead}" in named
    index, files = archive(path)
    assert {f"Node {stopped}", f"Node {dead}"} <= {item.about for item in index.missing}
    assert {name.rpartition("/")[2] for name in files if name.startswith(f"nodes/{whole}/")} == PARTS
    assert f"nodes/{stopped}/kernel.json" in files
    assert f"nodes/{dead}/kernel.json" not in files
    content = gzip.decompress(path.read_bytes())
    assert SECRET.encode() not in content
    assert b'"PLANTED"' in content
    log = files[f"pods/{mesh.system_pod('node', whole)['metadata']['name']}/agent.log"]
    assert MASK.encode() in log
    assert quiltctl(mesh, "status", "--from", str(path)).stdout
    until("every node is in sync", lambda: all_up(mesh), timeout=120, every=0.5)
