"""An image's programs are started before it is pushed: by an emulator on another architecture."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from quilt_devcluster import archive
from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.shell import run

EMULATORS = {"amd64": "qemu-x86_64-static", "arm64": "qemu-aarch64-static"}
PACKAGE = "qemu-user-static"
LOADERS = {"amd64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}
Command = tuple[str, ...]
_PYTHON = {"node": ("quiltctl", "quilt-agent", "quilt-runtime"), "operator": ("quilt-operator",)}
_CNI = {"node": ("quilt-cni", "loopback", "portmap", "bandwidth"), "operator": ()}
_FIREWALL = ("/usr/sbin/nft", "/usr/sbin/iptables")
# A CNI program has no options; this is how it is asked for its versions (CNI specification, VERSION).
_ENVIRONMENT = {"CNI_COMMAND": "VERSION", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def unpack(layers: Iterable[Path], folder: Path) -> None:
    """Unpack layers, which take nothing away from those before them, one over the other."""
    for layer in layers:
        run(["tar", "-xpf", layer, "-C", folder], what=f"Unpacking {layer}")


def commands(target: str, architecture: str) -> list[Command]:
    """Return what is started of an image."""
    # An emulator runs no script by itself.
    python = [("/opt/quilt/bin/python3", f"/opt/quilt/bin/{name}", "--version") for name in _PYTHON[target]]
    cni = [(f"/opt/quilt/cni/{name}",) for name in _CNI[target]]
    return [*python, *cni, *(_firewall(name, architecture) for name in _FIREWALL)]


def _firewall(program: str, architecture: str) -> Command:
    if architecture == archive.architecture():
        return program, "--version"
    # It opens a netfilter socket before it says anything, and emulators have none: its libraries are loaded.
    return LOADERS[architecture], "--list", program


def start(target: str, architecture: str, root: Path) -> None:
    """Start the programs of an image whose files are in the folder `root`, by chroot.

    Raises DevclusterError where one of them does not start, or nothing here runs those of its architecture.
    """
    through: list[str] = []
    if architecture != archive.architecture():
        emulator = shutil.which(EMULATORS[architecture])
        if emulator is None:
            raise DevclusterError(
                f"Programs for {architecture} cannot be started: {EMULATORS[architecture]} is missing.",
                hint=f"install Debian's {PACKAGE}",
            )
        shutil.copy(emulator, root / "emulator")
        through = ["/emulator"]
    for command in commands(target, architecture):
        run(
            ["chroot", root, *through, *command],
            what=f"Starting {' '.join(command)} of the {target} image for {architecture}",
            env=_ENVIRONMENT,
            stdin='{"cniVersion": "1.0.0"}',
        )
