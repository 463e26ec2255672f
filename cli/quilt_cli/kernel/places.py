"""Where the host's folders are: in a pod of ours they are mounted below /host."""

from __future__ import annotations

from pathlib import Path

_MOUNTS = Path("/host")


def cni_folder(name: str, mounts: Path = _MOUNTS) -> Path:
    """The host's folder `name` (`etc/cni/net.d`), through its mount where there is one."""
    mounted = mounts / name
    return mounted if mounted.is_dir() else Path("/") / name


def host_name(folder: Path) -> str:
    """What the folder is called on the host itself."""
    return f"/{folder.relative_to(_MOUNTS)}" if folder.is_relative_to(_MOUNTS) else str(folder)
