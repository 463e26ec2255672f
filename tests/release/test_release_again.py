"""A release for all architectures is the same when it is made again with empty caches.

What is released is the commit that is checked out, and each of both starts the programs of its images. Run by
`make release-check` alone: images for two architectures are built, twice.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from quilt_devcluster import paths, registry
from tests.support.differences import differences
from tests.support.releases import ROOT, check_sums, make

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry of this machine's loopback device; the name of what is below it."""
    folder = tmp_path_factory.mktemp("registry")
    with socket.create_server(("127.0.0.1", 0)) as free:
        name = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "log").open("w") as log:
        running = subprocess.Popen(registry.command(folder, name), stdout=log, stderr=log)
    try:
        registry.wait_ready(name, folder / "log")
        yield f"{name}/quilt"
    finally:
        running.kill()
        running.wait()


@pytest.fixture(scope="module")
def commit() -> str:
    """The option that names the commit of now, for both releases, whatever is committed meanwhile."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True)
    return f"--commit={done.stdout.strip()}"


@pytest.fixture(scope="module")
def files(place: str, commit: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a release made with whatever the caches of this machine hold."""
    return make(place, tmp_path_factory.mktemp("release"), commit)


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
    place: str,
    commit: str,
    files: Path,
    empty_caches: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # Outside of the caches: it stays when they are removed.
    again = make(place, tmp_path_factory.mktemp("again"), commit, environment=empty_caches)
    different = differences(place, files, again, tmp_path_factory.mktemp("images"))
    assert not different, "\n".join(different)
    check_sums(again)
