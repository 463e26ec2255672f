"""From Flannel to the mesh, node by node, and back, by the commands of docs/migrate-from-flannel.md.

flanneld is Flannel's own, in its manifest. While a node moves, pods of the others send to each other: over
Flannel, over the mesh, and between both.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from quilt_crds.names import DEFAULT_CLUSTER_CIDRS
from quilt_devcluster import binaries
from tests.support import flannel
from tests.support.commands import QUILTCTL, clean
from tests.support.fresh import fresh_cluster
from tests.support.mesh import TRAFFIC, Mesh, Pod, load_product, until
from tests.support.pages import ROOT, page_block, section

# The first time flanneld and the images are built.
pytestmark = pytest.mark.timeout(1200)
PAGE = ROOT / "docs/migrate-from-flannel.md"
VALUES = "\nimage: {tag: dev}\n"
THEIRS, MESHS = flannel.NETWORK, DEFAULT_CLUSTER_CIDRS[0]
RATE, SECONDS = 200, 3
AT_LEAST = RATE


@dataclass(frozen=True)
class Reader:
    """Somebody who follows the page, in a folder of his own with a checkout's chart."""

    mesh: Mesh
    folder: Path

    def follow(self, heading: str, node: str = "worker-1") -> None:
        """Run the commands of a section: those for nodes on each of them, the others here."""
        for language, script in section(PAGE, heading):
            if language == "sh":
                for each in self.mesh.nodes():
                    self.mesh.on(each, "sh", "-ec", script)
            elif not language:
                self._run(script.replace("worker-1", node))

    def _run(self, script: str) -> None:
        path = f"{self.folder / 'bin'}:{Path(QUILTCTL).parent}:{os.environ['PATH']}"
        environment = {**os.environ, **self.mesh.cluster.environment(), "PATH": path}
        bash = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(
            bash, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Three nodes whose pods Flannel serves: one on each that sends, and others that a drain moves."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "bin").mkdir()
    for name in ("kubectl", "helm"):
        (folder / "bin" / name).symlink_to(binaries.program(name))
    (folder / "kube-flannel.yml").symlink_to(flannel.MANIFEST)
    (folder / "beside-flannel.yaml").write_text(page_block(PAGE, "yaml") + VALUES)
    (folder / "helm").symlink_to(ROOT / "helm")
    # Flannel relies on hosts that forward from every interface.
    hosts = {"allocate_node_cidrs": True, "node_cidrs": THEIRS, "host_forwarding": True}
    with fresh_cluster("flannel", nodes=3, **hosts) as cluster:
        mesh = Mesh(cluster)
        load_product(mesh)
        flannel.place(mesh)
        mesh.kubectl("apply", "-f", str(flannel.MANIFEST))
        mesh.kubectl("rollout", "status", "-n", "kube-flannel", "daemonset/kube-flannel-ds", "--timeout=120s")
        mesh.apply(senders(), replicas())
        for workload in ("daemonset/senders", "deployment/replicas"):
            mesh.kubectl("rollout", "status", workload, "--timeout=120s")
        yield Reader(mesh, folder)


def template(label: str, **spec: Any) -> dict[str, Any]:
    named = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    command = ["python3", "-c", TRAFFIC.read_text()]
    container = {"name": "traffic", "image": "quilt-test:dev", "command": command, "env": [named]}
    spec |= {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {
        "selector": {"matchLabels": {"app": label}},
        "template": {"metadata": {"labels": {"app": label}}, "spec": spec},
    }


def senders() -> dict[str, Any]:
    """A pod on every node, which a drain leaves there."""
    spec = template("senders", tolerations=[{"operator": "Exists"}])
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "senders"}, "spec": spec}


def replicas() -> dict[str, Any]:
    """Pods that a drain moves to other nodes."""
    spec = {**template("replicas"), "replicas": 3}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "replicas"}, "spec": spec}


def running(mesh: Mesh) -> dict[str, Pod]:
    """{node: the pod that sends there}, once all of them answer."""

    def look() -> dict[str, Pod]:
        items = [item for item in mesh.get("pods", "-l", "app=senders")["items"] if alive(item)]
        found = (
            Pod(item["metadata"]["name"], item["spec"]["nodeName"], item["status"]["podIP"]) for item in items
        )
        answering = {pod.node: pod for pod in found if mesh.reaches(pod.node, f"http://{pod.ip}:8080/")}
        return answering if len(answering) == len(mesh.nodes()) else {}

    return until("a pod on every node answers", look, timeout=60)


def alive(item: dict[str, Any]) -> bool:
    return "deletionTimestamp" not in item["metadata"] and item["status"].get("phase") == "Running"


@contextmanager
def undisturbed(mesh: Mesh, pods: Sequence[Pod]) -> Iterator[None]:
    """No packet between these pods is lost meanwhile, and for some seconds at least."""
    with mesh.flow(list(pods), RATE) as flow:
        began = time.monotonic()
        yield
        time.sleep(max(0.0, began + SECONDS - time.monotonic()))
    flow.assert_complete(at_least=AT_LEAST)


def served_by(mesh: Mesh, node: str) -> set[str]:
    """The ranges that a node's pods have addresses of."""
    items = mesh.get("pods", "-A", f"--field-selector=spec.nodeName={node}")["items"]
    own = (item for item in items if alive(item) and not item["spec"].get("hostNetwork"))
    addresses = [item["status"]["podIP"] for item in own]
    return {cidr for cidr in (THEIRS, MESHS) for one in addresses if ip_address(one) in ip_network(cidr)}


def move_all(reader: Reader, heading: str, before: str, after: str) -> None:
    """Follow a section for one node after the other; pods of the others send to each other meanwhile."""
    mesh = reader.mesh
    for node in reversed(mesh.nodes()):
        pods = running(mesh)
        assert served_by(mesh, node) == {before}
        with undisturbed(mesh, [pod for pod in pods.values() if pod.node != node]):
            reader.follow(heading, node)
        running(mesh)
        assert served_by(mesh, node) == {after}
        if after == MESHS and node == mesh.nodes()[-1]:
            reader.follow("After the first node")


def test_the_mesh_is_installed_beside_flannel_and_changes_nothing(reader: Reader) -> None:
    mesh, before = reader.mesh, running(reader.mesh)
    reader.follow("Check")
    with undisturbed(mesh, list(before.values())):
        reader.follow("Install beside Flannel")
    assert running(mesh) == before
    for node in mesh.nodes():
        assert mesh.condition(node, "CNIInstalled")["reason"] == "NotLabelled"
        assert served_by(mesh, node) == {THEIRS}


def test_nodes_move_one_by_one_and_no_packet_of_the_others_is_lost(reader: Reader) -> None:
    move_all(reader, "One node after the other", THEIRS, MESHS)


def test_flannel_is_removed_without_a_trace(reader: Reader) -> None:
    mesh, pods = reader.mesh, running(reader.mesh)
    assert all(flannel.left(mesh, node) for node in mesh.nodes())
    with undisturbed(mesh, list(pods.values())):
        reader.follow("Remove Flannel")
    assert {node: flannel.left(mesh, node) for node in mesh.nodes()} == dict.fromkeys(mesh.nodes(), "")
    assert running(mesh) == pods
    for node in mesh.nodes():
        until(f"no label decides on {node}", lambda node=node: not mesh.condition(node, "CNIInstalled"), 20)


def test_and_back(reader: Reader) -> None:
    mesh, pods = reader.mesh, running(reader.mesh)
    with undisturbed(mesh, list(pods.values())):
        reader.follow("Back: Flannel again")
    move_all(reader, "Back: one node after the other", MESHS, THEIRS)
    pods = running(mesh)
    with undisturbed(mesh, list(pods.values())):
        mesh.cluster.helm("uninstall", "quilt", "-n", "quilt-system", "--wait", "--timeout", "120s")
        for node in mesh.nodes():
            clean(mesh, node)
    assert running(mesh) == pods
