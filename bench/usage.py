"""What other processes used: processor time and memory."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path


def processor(pid: int) -> float:
    """Processor seconds of a process and its finished threads, to the nanosecond (its CPU clock)."""
    return time.clock_gettime((~pid << 3) | 2)


def ended_children(pid: int) -> float:
    """Processor seconds, to the hundredth, of the programs that a process ran and that have ended."""
    after_the_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, after_the_name[13:15])) / os.sysconf("SC_CLK_TCK")


def own_processor() -> float:
    """Processor seconds of this process and of the programs that it ran."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def resident(pid: int) -> float:
    """Resident memory in MB."""
    return _megabytes(pid, "status", "VmRSS:")


def proportional(pid: int) -> float:
    """Resident memory in MB, of pages that several processes have only a share each (PSS in proc(5))."""
    return _megabytes(pid, "smaps_rollup", "Pss:")


def _megabytes(pid: int, file: str, field: str) -> float:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1000 * 1.024
    raise ProcessLookupError(pid)


def descriptors(pid: int) -> int:
    """Open descriptors."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
