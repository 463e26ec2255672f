"""A release is of a commit, has its version and its time, and nothing that is not in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from quilt_devcluster import DevclusterError
from release.source import check_version, take

PYPROJECT = '[project]\nname = "quilt-mesh"\nversion = "1.2.3"\n'
WHEN = 1_700_000_000


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of one commit, and a file that is in none."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.com"]
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "-m", "first"]):
        environment = {"GIT_COMMITTER_DATE": f"{WHEN} +0000", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        subprocess.run(["git", *command], cwd=folder, env=environment, check=True)
    (folder / "stray").touch()
    return folder


def test_what_is_not_committed_is_not_released(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    source = take(project, "HEAD", "1.2.3", folder)
    assert [path.name for path in folder.iterdir()] == ["pyproject.toml"]
    assert source.environment()["SOURCE_DATE_EPOCH"] == str(WHEN)
    assert len(source.commit) == 40


@pytest.mark.parametrize("version", ["1.2.4", "", "v1.2.3"])
def test_another_version_than_the_commits_is_refused(version: str) -> None:
    with pytest.raises(DevclusterError, match=r"the commit is 1\.2\.3"):
        check_version(version, PYPROJECT)


def test_a_version_that_is_no_releases_is_refused() -> None:
    with pytest.raises(DevclusterError, match=r"MAJOR\.MINOR\.PATCH"):
        check_version("1.2.3rc1", PYPROJECT.replace("1.2.3", "1.2.3rc1"))
