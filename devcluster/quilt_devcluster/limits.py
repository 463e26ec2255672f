"""The one limit of the machine that clusters outgrow: inotify instances of a user.

Debian allows 128; a node needs about ten. A program that gets none stops with "too many open files", far from
the cause. So the limit is raised while there are clusters and set back with the last one.
"""

from __future__ import annotations

from pathlib import Path

from quilt_devcluster import paths

INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
WANTED = 2048


def _note() -> Path:
    return paths.clusters_dir() / ".inotify"


def raise_limits() -> None:
    """Raise the limit, remembering what it was. To be called with the clusters' lock held."""
    current = int(INSTANCES.read_text())
    if current < WANTED:
        _note().write_text(f"{current}\n")
        INSTANCES.write_text(f"{WANTED}\n")


def restore_limits() -> None:
    """Set the limit back to what it was before. To be called with the clusters' lock held."""
    if _note().exists():
        # Somebody else's setting since then stays.
        if int(INSTANCES.read_text()) == WANTED:
            INSTANCES.write_text(_note().read_text())
        _note().unlink()
