"""A control group for each node, which is the root of all groups in there by a namespace.

So the pods of many kubelets do not meet in one hierarchy, a kubelet finds nothing but its own pods, and what
a node leaves behind when it loses power is in one place. Version 1 has a tree per controller, version 2 one.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from quilt_devcluster.errors import DevclusterError

MOUNT = Path("/sys/fs/cgroup")
TOP = "quilt-devcluster"
_NOT_CONTROLLERS = {"rw", "ro", "xattr", "clone_children", "noprefix", "release_agent"}


def is_version_1() -> bool:
    """Tell whether this machine runs pods in version 1 hierarchies (also when 2 is mounted beside them)."""
    return not (MOUNT / "cgroup.controllers").exists()


def _trees() -> list[Path]:
    if not is_version_1():
        return [MOUNT]
    # "unified" is version 2 beside version 1: it has no controllers, but runc makes its folders there too.
    return sorted(item for item in MOUNT.iterdir() if item.is_dir() and not item.is_symlink())


def cluster_group(cluster: str) -> str:
    """Return the path of a cluster's group below each tree."""
    return f"/{TOP}/{cluster}"


def node_group(cluster: str, node: str) -> str:
    """Return the path of a node's group below each tree."""
    return f"{cluster_group(cluster)}/{node}"


def folders(group: str) -> list[Path]:
    """Return the folder of `group` in each tree."""
    return [tree / group.strip("/") for tree in _trees()]


def mount_lines(mountinfo: str) -> list[str]:
    """Return shell commands that mount all trees again below an empty /sys/fs/cgroup.

    Inside a control group namespace they show its root instead of the machine's. `mountinfo` is the text of
    the machine's /proc/self/mountinfo, see proc_pid_mountinfo(5).
    """
    lines = []
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        target = fields.split()[4]
        kind, _, options = rest.split()[:3]
        if kind not in ("cgroup", "cgroup2") or not (target + "/").startswith(f"{MOUNT}/"):
            continue
        chosen = [o for o in options.split(",") if o.partition("=")[0] not in _NOT_CONTROLLERS]
        if any(option.startswith("name=") for option in chosen):
            chosen.insert(0, "none")
        flags = f"-o {','.join(chosen)} " if kind == "cgroup" else ""
        lines += [f"mkdir -p {target}", f"mount -t {kind} {flags}{kind} {target}"]
    return lines


def create(group: str) -> None:
    """Make `group` in every tree, usable by a kubelet."""
    for tree in _trees():
        folder = tree
        for part in group.strip("/").split("/"):
            if not is_version_1():
                _delegate(folder)
            folder = folder / part
            folder.mkdir(exist_ok=True)
            # A new cpuset is empty and refuses every process until it is filled from its parent.
            for name in ("cpuset.mems", "cpuset.cpus"):
                file = folder / name
                if is_version_1() and file.exists() and not file.read_text().strip():
                    file.write_text((folder.parent / name).read_text())


def join_script() -> str:
    """Return a shell script that joins the group of the node it runs in, then becomes its arguments.

    Programs are brought into a node by nsenter, which leaves them in the groups of the supervisor. On
    version 2 a group with members cannot hand controllers to children: the members have a child group there.
    """
    files = f"{MOUNT}/*/cgroup.procs" if is_version_1() else f"{MOUNT}/init/cgroup.procs"
    return f'for file in {files}; do echo 0 > "$file"; done; exec "$@"'


def delegate(group: str) -> None:
    """Hand the controllers of a version 2 group to its children, once its members have left it."""
    if not is_version_1():
        _delegate(MOUNT / group.strip("/"))


def _delegate(folder: Path) -> None:
    """Hand all of a version 2 group's controllers to its children."""
    for controller in (folder / "cgroup.controllers").read_text().split():
        # One controller that cannot be delegated (for example rdma) does not spoil the others.
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(group: str, timeout: float = 30.0) -> None:
    """Remove `group` with all below it from every tree. Its processes must be dead already.

    The kernel lets go of a group a moment after its last process: tried again until `timeout` seconds are
    over.
    """
    deadline = time.monotonic() + timeout
    for tree in _trees():
        folder = tree / group.strip("/")
        while folder.exists():
            for path, _, _ in os.walk(folder, topdown=False):
                with contextlib.suppress(OSError):
                    Path(path).rmdir()
            if not folder.exists():
                break
            if time.monotonic() > deadline:
                raise DevclusterError(
                    f"The control group {folder} cannot be removed.",
                    hint=f"look for processes in it: cat {folder}/cgroup.procs",
                )
            time.sleep(0.05)


def remove_empty_top() -> None:
    """Remove the folder above all clusters where no cluster is left in it."""
    for tree in _trees():
        with contextlib.suppress(OSError):
            (tree / TOP).rmdir()
