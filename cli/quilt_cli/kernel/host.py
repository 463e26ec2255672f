"""This host: its folders, which in a pod of the mesh are mounted below /host, and its programs."""

from __future__ import annotations

import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterable
from pathlib import Path

_MOUNTS = Path("/host")
PROGRAMS = ("usr/sbin", "sbin")
"""Folders of root's programs: one, or two where /usr was never merged."""
CONFLIST = "10-quilt.conflist"
# Seconds for an answer from loopback.
_TIMEOUT = 5.0


def conflists(folder: Path) -> list[str]:
    """Return the names of our CNI configurations, whatever `cni.confName` was: they call our plugin."""
    found = folder.glob("*.conflist")
    return sorted(path.name for path in found if path.name == CONFLIST or '"quilt-cni"' in (read(path) or ""))


def read(path: Path) -> str | None:
    """The text of a file; None where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


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
    return frozenset(
        name
        for name in names
        if shutil.which(name, path=path) or any((folder / name).is_symlink() for folder in folders)
    )


def host_name(folder: Path) -> str:
    """What the folder is called on the host itself."""
    return f"/{folder.relative_to(_MOUNTS)}" if folder.is_relative_to(_MOUNTS) else str(folder)


def nft(*arguments: str, script: str = "") -> subprocess.CompletedProcess[str] | None:
    """What nft says to these arguments, or to a script with `-f -`; None where there is no such program."""
    if not shutil.which("nft"):
        return None
    return subprocess.run(["nft", *arguments], input=script, capture_output=True, text=True, check=False)


def answers(path: Path) -> bool:
    """Whether a process listens on a Unix socket."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2)
            client.connect(str(path))
    except OSError:
        return False
    return True


def fetched(port: int, path: str) -> bytes:
    """What a process serves on this host's loopback. Raises OSError."""
    # It is on this host: whatever proxy is set is not asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}{path}", timeout=_TIMEOUT) as answer:
        content: bytes = answer.read()
    return content
