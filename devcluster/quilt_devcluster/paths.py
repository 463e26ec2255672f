"""Where the devcluster keeps things: one cache for what is built, one folder for every cluster.

Both lie outside the source tree, so that a clone stays clean and a second clone builds nothing again.
"""

from __future__ import annotations

import os
from pathlib import Path

from quilt_devcluster.errors import DevclusterError

PACKAGE = Path(__file__).resolve().parent
TOOLS = PACKAGE / "tools"
ASSETS = PACKAGE / "assets"


def cache_dir() -> Path:
    """Return the cache: `$QUILT_CACHE`, else `~/.cache/quilt-mesh`."""
    return Path(os.environ.get("QUILT_CACHE") or Path.home() / ".cache" / "quilt-mesh").absolute()


def clusters_dir() -> Path:
    """Return the folder that holds one folder per cluster: `$QUILT_DEVCLUSTER_STATE`, else inside the cache.

    It must lie on a filesystem that can be the upper layer of an overlay (ext4, xfs, btrfs, tmpfs), outside
    /run.
    """
    return Path(os.environ.get("QUILT_DEVCLUSTER_STATE") or cache_dir() / "clusters").absolute()


def project_root() -> Path:
    """Return the source tree: the folder with a Containerfile above this package or the working directory.

    Raises DevclusterError when neither has one, for example when installed from a wheel.
    """
    for start in (PACKAGE, Path.cwd()):
        for folder in (start, *start.parents):
            if (folder / "Containerfile").is_file() and (folder / "pyproject.toml").is_file():
                return folder
    raise DevclusterError(
        "The source tree (a folder with Containerfile and pyproject.toml) was not found.",
        hint="run this command inside a clone of the project",
    )
