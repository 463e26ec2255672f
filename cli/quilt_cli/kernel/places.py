"""Where the host's folders are: in a pod of the mesh they are mounted below /host."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

_MOUNTS = Path("/host")
PROGRAMS = ("usr/sbin", "sbin")
"""Folders of root's programs: one, or two where /usr was never merged."""
CONFLIST = "10-quilt.conflist"


def conflists(folder: Path) -> list[str]:
    """Return the names of our CNI configurations, whatever `cni.confName` was: they call our plugin."""
    return sorted(
        path.name for path in folder.glob("*.conflist") if path.name == CONFLIST or _calls_our_plugin(path)
    )


def _calls_our_plugin(path: Path) -> bool:
    try:
        return '"quilt-cni"' in path.read_text(errors="replace")
    except OSError:
        return False


def cni_folder(name: str, mounts: Path = _MOUNTS) -> Path:
    """The host's folder `name` (`etc/cni/net.d`), through its mount where there is one."""
    mounted = mounts / name
    return mounted if mounted.is_dir() else Path("/") / name


def host_programs(names: Iterable[str], mounts: Path = _MOUNTS) -> frozenset[str] | None:
    """Which of these programs of root's the host has, None in a pod that cannot see its folders."""
    folders = [folder for name in PROGRAMS if (folder := mounts / name).is_dir()]
    if not folders and mounts.is_dir():
        return None
    path = ":".join(map(str, folders)) or None
    # Links of alternatives lead outside of the mount, so that being there has to do.
    return frozenset(name for name in names if shutil.which(name, path=path) or _linked(name, folders))


def _linked(name: str, folders: Iterable[Path]) -> bool:
    return any((folder / name).is_symlink() for folder in folders)


def host_name(folder: Path) -> str:
    """What the folder is called on the host itself."""
    return f"/{folder.relative_to(_MOUNTS)}" if folder.is_relative_to(_MOUNTS) else str(folder)
