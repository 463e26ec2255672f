"""Installing the node's CNI: binaries and the configuration whose appearance makes the node Ready.

The configuration is written once the node is in sync and kept from then on: removing it at a restart would
leave running pods that cannot be deleted. Everything is written beside its place and renamed into it, for the
kubelet may read at any moment.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger()

CONFLIST = "10-quilt.conflist"
OURS = ("quilt-cni",)
# Common plugins that other software may have installed, in its own version: never replaced.
COMMON = ("loopback", "portmap", "bandwidth")
_SUFFIXES = (".conf", ".conflist", ".json")


class CniError(Exception):
    """The CNI files could not be installed; the text names the file and what is in the way."""


@dataclass(frozen=True, slots=True)
class CniPaths:
    """Whence and whereto binaries are copied, where the configuration is, and the runtime's CNI socket.

    `name` is the configuration's file name: the container engine uses the first one in order of names.
    Without `install` the files are brought by somebody else.
    """

    source: Path
    binaries: Path
    configuration: Path
    socket: str
    name: str = CONFLIST
    install: bool = True


def conflist(socket: str) -> bytes:
    """The network configuration list that the container runtime reads."""
    document = {
        # A container runtime with libcni older than 1.2 reads the first, a newer one the best it knows:
        # with 1.1.0 it also asks for STATUS and GC.
        "cniVersion": "1.0.0",
        "cniVersions": ["1.0.0", "1.1.0"],
        "name": "quilt",
        "plugins": [
            {"type": "quilt-cni", "socket": socket},
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
            # Annotations kubernetes.io/ingress-bandwidth and egress-bandwidth; does nothing without one.
            {"type": "bandwidth", "capabilities": {"bandwidth": True}},
        ],
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def install(paths: CniPaths) -> list[str]:
    """Bring binaries, then the configuration, to the host; return the names of what was written.

    Raises CniError. Installing again writes nothing unless something differs or is gone.
    """
    written = []
    try:
        paths.binaries.mkdir(parents=True, exist_ok=True)
        paths.configuration.mkdir(parents=True, exist_ok=True)
        for name in (*OURS, *COMMON):
            target = paths.binaries / name
            if name in COMMON and target.exists():
                continue
            if _write(target, (paths.source / name).read_bytes(), 0o755):
                written.append(name)
        if _write(paths.configuration / paths.name, conflist(paths.socket), 0o644):
            written.append(paths.name)
        _remove_renamed(paths)
    except OSError as error:
        raise CniError(f"CNI files cannot be installed: {error}.") from error
    if written:
        log.info("cni_installed", files=written)
    return written


def foreign_first(configuration: Path, own: str = CONFLIST) -> str:
    """Return a sentence on a foreign configuration that sorts before Quilt's and so wins, or nothing."""
    try:
        names = sorted(entry.name for entry in configuration.iterdir())
    except OSError:
        return ""
    first = [name for name in names if name < own and name.endswith(_SUFFIXES)]
    if not first:
        return ""
    return (
        f"CNI configuration {first[0]} in {configuration} sorts before {own}: new pods get that "
        "network; remove it when Quilt is meant to serve them."
    )


def _remove_renamed(paths: CniPaths) -> None:
    """Remove what an agent wrote while the configuration had another name."""
    for other in paths.configuration.glob("*.conflist"):
        if other.name != paths.name and other.read_bytes() == conflist(paths.socket):
            other.unlink()


def _write(target: Path, content: bytes, mode: int) -> bool:
    try:
        same = target.read_bytes() == content and target.stat().st_mode & 0o777 == mode
    except FileNotFoundError:
        same = False
    if same:
        return False
    temporary = target.with_name(f".{target.name}.quilt-{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.chmod(mode)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return True
