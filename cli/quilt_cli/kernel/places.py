"""Where the host's folders are: in a pod of ours they are mounted below /host."""

from __future__ import annotations

from pathlib import Path


def cni_folder(name: str, mounts: Path = Path("/host")) -> Path:
    """The host's folder `name` (`etc/cni/net.d`), through its mount where there is one."""
    mounted = mounts / name
    return mounted if mounted.is_dir() else Path("/") / name
