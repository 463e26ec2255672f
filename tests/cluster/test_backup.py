"""Who has which subnet survives the loss of the CRDs: back up and restore as docs/backup.md has it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from quilt_crds.names import CONFIGMAP, OPERATOR_DEPLOYMENT, QUILTNETWORK, QUILTNODE, QUILTSUBNET
from quilt_kube.aio import Client
from quilt_kube.request import create, delete
from tests.support.commands import document, quiltctl
from tests.support.controlplane import Api
from tests.support.mesh import CHART, NAMESPACE, Mesh, Pod, all_up, until

CRDS = [kind.crd_name for kind in (QUILTNETWORK, QUILTNODE, QUILTSUBNET)]
# Seconds, and datagrams a second for each pair of pods.
BEFORE, GONE, AFTER, RATE = 3, 10, 5, 100
# Of them a mesh of this size makes some ten a second.
WRITES, WRITERS = 6000, 8


def claims(mesh: Mesh) -> dict[str, tuple[str, str]]:
    """{node: (its subnet, what peers do with it)}."""
    return {node: (item["spec"]["cidr"], item["mesh"]["phase"]) for node, item in mesh.subnets().items()}


@contextmanager
def without_operator(mesh: Mesh) -> Iterator[None]:
    """Scale the operator to nothing, and back at the end."""
    deployment = ("deployment", OPERATOR_DEPLOYMENT, "-n", NAMESPACE)
    replicas = mesh.get(*deployment)["spec"]["replicas"]
    mesh.kubectl("scale", *deployment, "--replicas=0")
    chosen = ("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=operator")
    until("its pods are gone", lambda: not mesh.get(*chosen)["items"], timeout=120, every=0.5)
    try:
        yield
    finally:
        mesh.kubectl("scale", *deployment, f"--replicas={replicas}")


def put_crds_back(mesh: Mesh) -> None:
    """Apply the chart's CRDs as the page says."""
    show = ("template", "quilt", str(CHART), "-n", NAMESPACE, "--show-only", "templates/crds/*.yaml")
    apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=helm", "-f", "-")
    mesh.kubectl(*apply, stdin=mesh.cluster.helm(*show))
    mesh.kubectl("wait", "--for=condition=Established", *(f"crd/{name}" for name in CRDS), "--timeout=60s")


def test_after_the_crds_were_deleted_every_node_gets_its_subnet_and_no_packet_is_lost(
    mesh: Mesh, pods: dict[str, Pod], tmp_path: Path
) -> None:
    until("every node is Up", lambda: all_up(mesh), timeout=120, every=0.5)
    before, file = claims(mesh), str(tmp_path / "backup.yaml")
    saved = quiltctl(mesh, "backup", "-f", file)
    assert saved.returncode == 0, saved.stderr
    with mesh.flow(list(pods.values()), RATE) as flow:
        time.sleep(BEFORE)
        mesh.kubectl("delete", "crd", *CRDS, "--timeout=60s")
        with without_operator(mesh):
            time.sleep(GONE)
            refused = quiltctl(mesh, "restore", file)
            assert (refused.returncode, "apply the CRDs first" in refused.stderr) == (2, True)
            put_crds_back(mesh)
            restored = quiltctl(mesh, "restore", file)
            assert restored.returncode == 0, restored.stdout + restored.stderr
            assert claims(mesh) == before
        until("every node is Up and in sync", lambda: all_up(mesh), timeout=180, every=0.5)
        time.sleep(AFTER)
    flow.assert_complete(at_least=(BEFORE + GONE + AFTER) * RATE)
    assert claims(mesh) == before, "the operator confirms what was restored"
    again = document(quiltctl(mesh, "restore", file, "-o", "json"))
    assert (again["steps"], again["findings"]) == ([], [])


async def write_much(mesh: Mesh) -> None:
    """Have the cluster's resourceVersion grow by more than what a mesh writes in some minutes."""

    async def write(client: Client, name: str) -> None:
        for _ in range(WRITES // WRITERS // 2):
            await client.ask(create(CONFIGMAP.path(namespace=NAMESPACE), {"metadata": {"name": name}}))
            await client.ask(delete(CONFIGMAP.path(name, namespace=NAMESPACE)))

    async with Client(Api(mesh.cluster.kubeconfig).access, agent="test") as client:
        await asyncio.gather(*(write(client, f"filler-{number}") for number in range(WRITERS)))


@pytest.mark.timeout(400)
def test_an_etcd_that_was_restored_is_followed_and_no_packet_is_lost(
    mesh: Mesh, pods: dict[str, Pod]
) -> None:
    """A watch of the time before is silent at an API server whose history is older: nobody may rely on it."""
    until("every node is Up", lambda: all_up(mesh), timeout=120, every=0.5)
    before = claims(mesh)
    mesh.cluster.save_etcd()
    asyncio.run(write_much(mesh))
    with mesh.flow(list(pods.values()), RATE) as flow:
        mesh.cluster.restore_etcd()
        joined = mesh.cluster.add_node()
        until("every node is Up and in sync", lambda: all_up(mesh), timeout=180, every=0.5)
        cidr, _ = claims(mesh)[joined]
        for node in pods:
            until(f"{node} has a route", lambda at=node: mesh.on(at, "ip", "route", "show", cidr), timeout=60)
    flow.assert_complete(at_least=RATE)
    assert {node: claim for node, claim in claims(mesh).items() if node != joined} == before


def test_a_subnet_that_another_node_holds_is_not_restored(mesh: Mesh, tmp_path: Path) -> None:
    file = tmp_path / "backup.yaml"
    assert quiltctl(mesh, "backup", "-f", str(file)).returncode == 0
    backup, before = yaml.safe_load(file.read_text()), claims(mesh)
    subnets = [item for item in backup["items"] if item["kind"] == QUILTSUBNET.kind]
    subnets[0]["spec"]["node"] = subnets[1]["spec"]["node"]
    file.write_text(yaml.safe_dump(backup))
    done = quiltctl(mesh, "restore", str(file), "-o", "json")
    found = document(done)
    assert done.returncode == 1
    assert [item["code"] for item in found["findings"]] == ["claim-taken"]
    assert claims(mesh) == before


def test_nothing_is_in_the_way_of_an_upgrade_of_a_well_mesh(mesh: Mesh, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(mesh.cluster.helm("get", "values", "quilt", "-n", NAMESPACE, "-o", "yaml"))
    arguments = ("check", "--upgrade", "--chart", str(CHART), "--values", str(values), "-o", "json")

    def passed() -> bool:
        """Not at once: it wants every pod of the chart to be ready."""
        return quiltctl(mesh, *arguments).returncode == 0

    until("the check passes", passed, timeout=60, every=1)
    codes = {item["code"]: item["level"] for item in document(quiltctl(mesh, *arguments))["findings"]}
    assert codes["values"] == codes["upgrade-way"] == "ok"
