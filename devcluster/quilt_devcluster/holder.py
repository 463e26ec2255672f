"""Start the first process of new namespaces and print its id: `python holder.py PAUSE FOLDER ROLE [GROUP…]`.

A program of its own because making namespaces and forking are unsafe in a process with threads, such as a
test run. The new process has its own network, mounts, host name and process ids; it outlives the one that
started it.
"""

from __future__ import annotations

import ctypes
import os
import sys

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
HOLDER = "quilt-holder"
MS_REC = 0x4000
MS_PRIVATE = 1 << 18


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def join(groups: list[str]) -> None:
    """Move this process into the control groups with these folders and make them a namespace's roots."""
    for group in groups:
        _write(f"{group}/cgroup.procs", "0")
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWCGROUP), "unshare of control groups")
    for group in groups:
        # Version 2: a group with members cannot hand controllers to its children.
        if len(groups) == 1 and os.path.exists(f"{group}/cgroup.controllers"):  # noqa: PTH110 - imports cost time
            os.makedirs(f"{group}/init", exist_ok=True)  # noqa: PTH103
            _write(f"{group}/init/cgroup.procs", "0")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123
        file.write(text)


def separate() -> None:
    """Leave the network, mount, host name and (for children) PID namespaces. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWPID), "unshare")
    # Otherwise what is mounted in here would appear on the machine as well.
    _check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "making the mounts private")


def main() -> None:
    """Fork the holder and print its id as seen from outside."""
    program, folder, role = sys.argv[1:4]
    if groups := sys.argv[4:]:
        join(groups)
    separate()
    child = os.fork()
    if child:
        print(child)
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.chdir("/")
    # The only descriptors that survive are the three above: all others are made close-on-exec by Python.
    # The arguments are for `down` and for people: they tell whose process this is.
    os.execv(program, [HOLDER, folder, role])  # noqa: S606 - becoming the program is the point


if __name__ == "__main__":
    main()
