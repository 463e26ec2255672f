"""Command lines that run a program inside a machine (a node or the control plane) of a cluster."""

from __future__ import annotations

from collections.abc import Sequence

from quilt_devcluster.errors import DevclusterError
from quilt_devcluster.procs import Pid

NODE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def inside(holder: Pid, argv: Sequence[str], *, folder: str = "/") -> list[str]:
    """Return the command line that runs `argv` in the namespaces of `holder`, in `folder` there.

    nsenter stays as the parent because a process cannot change its own PID namespace; should it be killed,
    for example by a time-out, the program dies with it. Raises DevclusterError when the machine is off.
    """
    if not holder.alive():
        raise DevclusterError(
            "That machine is switched off.", hint="`quilt-devcluster status`, then `start-node`"
        )
    namespaces = ["--net", "--mount", "--uts", "--pid", "--cgroup"]
    return [
        "nsenter",
        f"--target={holder.pid}",
        *namespaces,
        "--",
        "setpriv",
        "--pdeathsig=KILL",
        "env",
        f"--chdir={folder}",
        *argv,
    ]
