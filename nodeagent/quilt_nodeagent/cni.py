"""Installing the node's CNI: binaries and the configuration whose appearance makes the node Ready.

The configuration is written once the node is in sync and kept from then on: removing it at a restart would
leave running pods that cannot be deleted. Where a label of the Node decides, it is removed with the label:
another network's is there then. Everything is written beside its place and renamed into it, for the kubelet
may read at any moment.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from quilt_crds.names import CNI_INSTALLED, CNI_LABEL, CNI_LABEL_VALUE
from quilt_crds.wire import Condition, Node
from quilt_log import log

CONFLIST = "10-quilt.conflist"
OURS = ("quilt-cni",)
# Common plugins that other software may have installed, in its own version: never replaced.
COMMON = ("loopback", "portmap", "bandwidth")
_SUFFIXES = (".conf", ".conflist", ".json")
# When the files are installed: everywhere, the configuration where the Node has the label, nowhere.
ALWAYS, LABELLED, NEVER = INSTALL = ("always", "labelled", "never")
# Seconds between looks at files that were right.
_LOOK_AGAIN = 30.0


@dataclass(frozen=True, slots=True)
class CniPaths:
    """Whence and whereto binaries are copied, where the configuration is, and the runtime's CNI socket.

    `name` is the configuration's file name: the container engine uses the first one in order of names.
    `install` is one of INSTALL.
    """

    source: Path
    binaries: Path
    configuration: Path
    socket: str
    name: str = CONFLIST
    install: str = ALWAYS


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


def install(paths: CniPaths, *, serve: bool = True) -> list[str]:
    """Bring binaries, then the configuration, to the host; return the names of what was written.

    Without `serve` the configuration is removed. Raises OSError, which names the file. Installing again
    writes nothing unless something differs or is gone.
    """
    written = []
    paths.binaries.mkdir(parents=True, exist_ok=True)
    paths.configuration.mkdir(parents=True, exist_ok=True)
    for name in (*OURS, *COMMON):
        target = paths.binaries / name
        if name in COMMON and target.exists():
            continue
        if _write(target, (paths.source / name).read_bytes(), 0o755):
            written.append(name)
    target = paths.configuration / paths.name
    if serve and _write(target, conflist(paths.socket), 0o644):
        written.append(paths.name)
    removed = _remove_configurations(paths, but_named=serve)
    if written:
        log.info("cni_installed", files=written)
    if removed:
        log.info("cni_configuration_removed", files=removed)
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


@dataclass
class CniFiles:
    """The files of this node, kept as they should be.

    `installed` says whether they were so at the last look, `problem` and `foreign` are sentences on what is
    in the way; `serve` is whether the configuration should be there, None while nobody knows.
    """

    paths: CniPaths
    serve: bool | None = None
    installed: bool = False
    problem: str = ""
    foreign: str = ""
    _look_again: float = field(default=0.0, init=False)

    def learn(self, node: Node | None) -> None:
        """Take in whether new pods of this Node are Quilt's to serve."""
        serve = self.serve
        if self.paths.install != LABELLED:
            serve = True
        elif node is not None:
            serve = node.metadata.labels.get(CNI_LABEL) == CNI_LABEL_VALUE
        if serve != self.serve:
            self.serve, self.installed = serve, False

    async def ensure(self) -> bool:
        """Install what is due; return whether there was anything to look at."""
        # Passes may come many times a second; files of the host hardly ever change, and reading them costs.
        if self.installed and time.monotonic() < self._look_again:
            return False
        self._look_again = time.monotonic() + _LOOK_AGAIN
        problem = ""
        try:
            if self.paths.install != NEVER:
                await asyncio.to_thread(install, self.paths, serve=bool(self.serve))
        except OSError as error:
            problem = f"CNI files cannot be installed: {error}."
        if problem and problem != self.problem:
            log.warning("cni_not_installed", error=problem)
        self.installed, self.problem = not problem, problem
        return True

    def look_at_others(self) -> bool:
        """Look at the names of others' files; return whether something else came of it than before."""
        looked = self.serve and self.paths.install != NEVER
        foreign = foreign_first(self.paths.configuration, self.paths.name) if looked else ""
        if foreign == self.foreign:
            return False
        if foreign:
            log.warning("cni_foreign_configuration", message=foreign)
        self.foreign = foreign
        return True

    def condition(self) -> Condition | None:
        """What the Node's label makes of them; None where no label decides, or it is not known."""
        if self.paths.install != LABELLED or self.serve is None:
            return None
        if self.problem:
            return Condition(CNI_INSTALLED, "False", "Problem", self.problem)
        if not self.serve:
            text = f"New pods get another network: the Node has no label {CNI_LABEL}={CNI_LABEL_VALUE}."
            return Condition(CNI_INSTALLED, "False", "NotLabelled", text)
        if not self.installed:
            return Condition(CNI_INSTALLED, "False", "Waiting", "Written once the node is in sync.")
        if self.foreign:
            return Condition(CNI_INSTALLED, "False", "OtherFirst", self.foreign)
        return Condition(CNI_INSTALLED, "True", "Labelled", "New pods get this network.")


def _remove_configurations(paths: CniPaths, *, but_named: bool) -> list[str]:
    """Remove what an agent wrote under another name, and unless `but_named` under this one; return names."""
    removed = []
    for path in paths.configuration.glob("*.conflist"):
        named = path.name == paths.name
        if (named and not but_named) or (not named and path.read_bytes() == conflist(paths.socket)):
            path.unlink()
            removed.append(path.name)
    return removed


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
