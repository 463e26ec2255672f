"""A release for this machine's architecture as people meet it: installed from a registry by its chart alone.

What is released is the commit that is checked out. That a release of all architectures is the same when it is
made again is shown by `make release-check` (tests/release), which lasts longer.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from quilt_devcluster import archive, roots
from tests.support.fresh import fresh_cluster
from tests.support.mesh import NAMESPACE, Mesh, rolled_out
from tests.support.releases import PROJECT, VERSION, check_sums, digests, make

# The images are built where the last build was of other sources.
pytestmark = pytest.mark.timeout(1200)
IMAGES = ("quilt-mesh-node", "quilt-mesh-operator")


@dataclass(frozen=True)
class Place:
    """A cluster without images of the mesh, and the name of what is below its registry."""

    mesh: Mesh
    registry: str


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with fresh_cluster("release", nodes=3, images=()) as cluster:
        yield Place(Mesh(cluster), f"{cluster.start_registry()}/quilt")


@pytest.fixture(scope="module")
def files(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a release, made with whatever the caches of this machine hold."""
    output = tmp_path_factory.mktemp("release")
    # An update of Debian is no fault of the commit.
    return make(place.registry, output, f"--architecture={archive.architecture()}", "--any-packages")


@pytest.fixture(scope="module")
def installed(place: Place, files: Path) -> Mesh:
    """The mesh, installed by nothing but the chart's name."""
    chart = f"oci://{place.registry}/quilt-mesh"
    place.mesh.cluster.helm(
        "install", "quilt", chart, "-n", NAMESPACE, "--create-namespace", "--plain-http", timeout=300
    )
    rolled_out(place.mesh)
    return place.mesh


def test_every_file_of_a_release_has_its_checksum(files: Path) -> None:
    check_sums(files)


def test_the_chart_alone_makes_three_nodes_ready(installed: Mesh) -> None:
    assert installed.cluster.ready_nodes() == dict.fromkeys(installed.nodes(), True)
    assert len(installed.nodes()) == 3


def test_containerd_pulls_the_images_by_digest(place: Place, installed: Mesh, files: Path) -> None:
    pods = installed.get("pods", "-n", NAMESPACE)["items"]
    # One of the operator's replicas may still start.
    used = {status["imageID"] for pod in pods for status in pod["status"].get("containerStatuses", ())} - {""}
    assert used == {f"{place.registry}/{name}@{digests(files)[name]}" for name in IMAGES}
    asked = (installed.cluster.folder / "logs" / "registry.log").read_text()
    for name in IMAGES:
        request = rf'"(?:HEAD|GET) /v2/quilt/{name}/manifests/{digests(files)[name]}\S* .*"containerd/'
        assert re.search(request, asked), name


def test_the_charts_own_test_passes(installed: Mesh) -> None:
    installed.cluster.helm("test", "quilt", "-n", NAMESPACE, "--timeout", "120s")


# A Debian of its own, with this machine's way to package indexes. $1 is its folder, $2 what runs in it.
BESIDE = """set -eu
cat /etc/resolv.conf > "$1/etc/resolv.conf"
[ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$1/etc/pip.conf"
mount --bind /etc/ssl/certs "$1/etc/ssl/certs"
mount -t proc proc "$1/proc"
exec chroot "$1" /bin/sh -euc "$2"
"""


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a Debian with its package `quilt`."""
    folder = tmp_path_factory.mktemp("debian")
    packed = roots.ensure_root("people", lambda _: None)
    subprocess.run(["tar", "-xpf", packed, "-C", folder], check=True)
    return folder


def beside(debian: Path, files: Path, script: str) -> str:
    """Run a script in the Debian that has the release's files in /release; what it prints."""
    shutil.copytree(files, debian / "release", dirs_exist_ok=True)
    path = {"PATH": "/root/.local/bin:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "HOME": "/root"}
    command = ["unshare", "--mount", "sh", "-c", BESIDE, "sh", str(debian), script]
    done = subprocess.run(command, env={**os.environ, **path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# Documents are not installed in this root.
UNTOUCHED = """
test "$(command -v quilt)" = /usr/bin/quilt
test -z "$(dpkg --verify quilt | grep --invert-match --extended-regexp ' /usr/share/(doc|locale|man)/')"
quilt --version
"""


def test_the_wheel_leaves_debians_quilt_alone(debian: Path, files: Path) -> None:
    """D14: Installed by pipx, with every program, beside Debian's package `quilt`."""
    wheel = f"/release/quilt_mesh-{VERSION}-py3-none-any.whl[cli]"
    answers = "".join(f"{name} --help; {name} --version; " for name in PROJECT["scripts"])
    printed = beside(debian, files, f"pipx install '{wheel}'\n{answers}\n{UNTOUCHED}")
    assert printed.count(f", version {VERSION}\n") == len(PROJECT["scripts"])
    assert printed.splitlines()[-1].startswith("0.6")


def test_the_single_file_leaves_debians_quilt_alone(debian: Path, files: Path) -> None:
    """D14: The single file, under both of its names, beside Debian's package `quilt`."""
    script = f"""
    install -m 755 /release/quiltctl-{VERSION}-linux-{archive.architecture()}.pex /usr/local/bin/quiltctl
    ln -sf quiltctl /usr/local/bin/kubectl-quilt
    for name in /usr/local/bin/quiltctl /usr/local/bin/kubectl-quilt; do $name --help; $name --version; done
    """
    printed = beside(debian, files, script + UNTOUCHED)
    assert f"quiltctl, version {VERSION}\n" in printed
    assert f"kubectl quilt, version {VERSION}\n" in printed
    assert printed.splitlines()[-1].startswith("0.6")
