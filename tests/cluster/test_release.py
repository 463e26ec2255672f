"""A release as people meet it: the same when made again, installed from a registry by its chart alone.

What is released is the commit that is checked out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from quilt_devcluster import archive, paths, roots
from tests.support.fresh import fresh_cluster
from tests.support.mesh import NAMESPACE, Mesh, rolled_out

# Images for two architectures are built, twice.
pytestmark = pytest.mark.timeout(2400)
ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]
DIGESTS = f"quilt-mesh-{VERSION}.digests"


@dataclass(frozen=True)
class Place:
    """A cluster without images of the mesh, and the name of what is below its registry."""

    mesh: Mesh
    registry: str


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with fresh_cluster("release", nodes=3, images=()) as cluster:
        yield Place(Mesh(cluster), f"{cluster.start_registry()}/quilt")


def make(place: Place, output: Path, environment: Mapping[str, str]) -> Path:
    """Make the release as `make release` does; the folder of its files."""
    command = [sys.executable, "-m", "release", VERSION, place.registry, "--plain-http", f"--output={output}"]
    settings = {**os.environ, **environment}
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return output / VERSION


@pytest.fixture(scope="module")
def files(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a release made with whatever the caches of this machine hold."""
    return make(place, tmp_path_factory.mktemp("release"), {})


@pytest.fixture(scope="module")
def installed(place: Place, files: Path) -> Mesh:
    """The mesh, installed by nothing but the chart's name."""
    chart = f"oci://{place.registry}/quilt-mesh"
    place.mesh.cluster.helm(
        "install", "quilt", chart, "-n", NAMESPACE, "--create-namespace", "--plain-http", timeout=300
    )
    return place.mesh


def digests(files: Path) -> dict[str, str]:
    """{`quilt-mesh-node`: `sha256:…`}, of the chart too."""
    found = (line.rpartition("@") for line in (files / DIGESTS).read_text().splitlines())
    return {name.rpartition("/")[2].partition(":")[0]: digest for name, _, digest in found}


@pytest.fixture
def empty_caches(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables by which nothing is found that an earlier build left, programs that build apart."""
    cache = tmp_path / "quilt-mesh"
    (cache / "bin").mkdir(parents=True)
    for folder in (paths.cache_dir() / "bin").glob("helm-*"):
        (cache / "bin" / folder.name).symlink_to(folder)
    yield {
        "QUILT_CACHE": str(cache),
        "GOCACHE": str(tmp_path / "go-build"),
        "GOMODCACHE": str(tmp_path / "go-mod"),
        "GOFLAGS": "-buildvcs=false -modcacherw",
        "PIP_CACHE_DIR": str(tmp_path / "pip"),
        "PEX_ROOT": str(tmp_path / "pex"),
    }
    subprocess.run(["rm", "-rf", "--one-file-system", tmp_path], check=False)


def test_a_release_is_the_same_when_it_is_made_again_with_empty_caches(
    place: Place, files: Path, empty_caches: dict[str, str], tmp_path: Path
) -> None:
    again = make(place, tmp_path / "again", empty_caches)
    assert (again / DIGESTS).read_text() == (files / DIGESTS).read_text()
    assert (again / "SHA256SUMS").read_text() == (files / "SHA256SUMS").read_text()
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=again).returncode == 0
    listed = {line.split()[1] for line in (again / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in again.iterdir()} - {"SHA256SUMS"}


def test_the_chart_alone_makes_three_nodes_ready(installed: Mesh) -> None:
    rolled_out(installed)
    assert installed.cluster.ready_nodes() == dict.fromkeys(installed.nodes(), True)
    assert len(installed.nodes()) == 3


def test_containerd_pulls_the_images_by_digest(place: Place, installed: Mesh, files: Path) -> None:
    rolled_out(installed)
    wanted = {f"{place.registry}/{name}@{digest}" for name, digest in digests(files).items()}
    pods = installed.get("pods", "-n", NAMESPACE)["items"]
    used = {status["imageID"] for pod in pods for status in pod["status"]["containerStatuses"]}
    assert used == {image for image in wanted if not image.startswith(f"{place.registry}/quilt-mesh@")}
    asked = (installed.cluster.folder / "logs" / "registry.log").read_text()
    for name in ("quilt-mesh-node", "quilt-mesh-operator"):
        assert f"/v2/quilt/{name}/manifests/{digests(files)[name]}" in asked
    assert "containerd/" in asked


def test_the_charts_own_test_passes(installed: Mesh) -> None:
    rolled_out(installed)
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


UNTOUCHED = 'test "$(command -v quilt)" = /usr/bin/quilt; dpkg --verify quilt; quilt --version'


def test_the_wheel_leaves_debians_quilt_alone(debian: Path, files: Path) -> None:
    """D14: Installed by pipx, with every program, beside Debian's package `quilt`."""
    wheel = f"/release/quilt_mesh-{VERSION}-py3-none-any.whl[cli]"
    answers = "".join(f"{name} --help; {name} --version; " for name in PROJECT["scripts"])
    printed = beside(debian, files, f"pipx install '{wheel}'; {answers} {UNTOUCHED}")
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
