"""The commit that a release is made of, taken out of the history: what is not committed is in no release."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.shell import run

VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Source:
    """The files of a commit in `folder`, the version they have, and the commit's time in seconds of 1970."""

    folder: Path
    version: str
    commit: str
    epoch: int

    def environment(self) -> dict[str, str]:
        """Return the variables by which builds have the commit's time instead of the clock's.

        https://reproducible-builds.org/specs/source-date-epoch/
        """
        return {"SOURCE_DATE_EPOCH": str(self.epoch), "TZ": "UTC", "PYTHONHASHSEED": "0"}


def take(project: Path, commit: str, version: str, folder: Path) -> Source:
    """Write the files of a commit of `project` into the empty `folder`.

    Raises DevclusterError where the commit has another version than `version`.
    """
    full = run(["git", "rev-parse", "--verify", f"{commit}^{{commit}}"], cwd=project).strip()
    epoch = int(run(["git", "show", "--no-patch", "--format=%ct", full], cwd=project))
    packed = folder / ".source.tar"
    # The modes of files do not depend on who makes the release.
    archive = ["git", "-c", "tar.umask=0022", "archive", f"--output={packed}", full]
    run(archive, what=f"Taking out the commit {full[:12]}", cwd=project)
    run(["tar", "-xpf", packed, "-C", folder], what=f"Unpacking the commit {full[:12]}")
    packed.unlink()
    check_version(version, (folder / "pyproject.toml").read_text())
    return Source(folder, version, full, epoch)


def check_version(version: str, pyproject: str) -> None:
    """Raise DevclusterError where `version` is not that of the text of pyproject.toml, or no release's."""
    stated = tomllib.loads(pyproject)["project"]["version"]
    if version != stated or not VERSION.fullmatch(version):
        raise DevclusterError(
            f"The release is to be {version or 'of no version'}, the commit is {stated}.",
            hint="set `version` in pyproject.toml to MAJOR.MINOR.PATCH, run `make generate`, commit",
        )


def set_time(path: Path, epoch: int) -> None:
    """Give a file the commit's time."""
    os.utime(path, (epoch, epoch))
