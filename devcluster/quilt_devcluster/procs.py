"""Processes identified by id *and* start time, so that a recycled id never gets a foreign process killed."""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from quilt_devcluster.errors import DevclusterError


@dataclass(frozen=True, slots=True)
class Pid:
    """A process: `pid` and its start time in clock ticks after boot (field 22 of /proc/PID/stat)."""

    pid: int
    start: int

    def alive(self) -> bool:
        """Tell whether this very process still runs (a zombie does not)."""
        return _stat(self.pid) == self.start


def _stat(pid: int) -> int | None:
    """Return the start time of the running process `pid`, None when it does not exist or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def identify(pid: int) -> Pid:
    """Return the identity of the running process `pid`. Raises DevclusterError when it is gone."""
    start = _stat(pid)
    if start is None:
        raise DevclusterError(f"The process {pid} ended as soon as it was started.")
    return Pid(pid, start)


def children(pid: int) -> list[int]:
    """Return the ids of the children of `pid`'s main thread."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def find(*arguments: str) -> list[Pid]:
    """Return the running processes whose command line contains all `arguments`, each as a whole argument."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        start = _stat(int(entry.name))
        if start is not None and all(argument in words for argument in arguments):
            found.append(Pid(int(entry.name), start))
    return found


def end(process: Pid, *, signal_number: int = signal.SIGKILL, timeout: float = 30.0) -> bool:
    """Send a signal to exactly this process and wait for its end; true when it is gone, also if it was."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        # The descriptor pins the process: checked after opening, the id cannot be recycled in between.
        if not process.alive():
            return True
        signal.pidfd_send_signal(handle, signal_number)
        deadline = time.monotonic() + timeout
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)
