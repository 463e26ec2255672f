"""Traffic between network namespaces: a small C program, built when first asked for and kept.

One server serves every kind of traffic; a client makes one kind for some time and prints what it reached.
Both have a place on the first and the last of the processors that are allowed: where the scheduler places
them, a transaction is twice as long in one run as in the next.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.node import BenchError
from quilt_devcluster import paths
from quilt_devcluster.binaries import Progress, locked
from quilt_devcluster.shell import run

SOURCE = Path(__file__).parent / "tools" / "datapath" / "datapath.c"
PORT = 5999
BITS = 8 / 1e9
_PROCESSORS = sorted(os.sched_getaffinity(0))


def program(say: Progress) -> Path:
    """Return the traffic program, built if need be."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    built = paths.cache_dir() / "bin" / f"datapath-{digest}" / "datapath"
    with locked(paths.cache_dir() / "bin" / ".datapath.lock"):
        if not built.exists():
            say("building datapath")
            built.parent.mkdir(parents=True, exist_ok=True)
            part = built.with_suffix(".part")
            options = ["-static", "-O2", "-pthread", "-Wall", "-Wextra", "-Werror"]
            run(
                [os.environ.get("CC", "cc"), *options, "-o", part, SOURCE],
                what="Building datapath",
                hint="install a C compiler and the static C library (Debian: gcc libc6-dev)",
            )
            part.rename(built)
    return built


@dataclass(frozen=True)
class Traffic:
    """What a client makes, by the program's word."""

    kind: str
    streams: int = 1

    @property
    def apart(self) -> bool:
        """Whether client and server have a processor each.

        For transactions they share one: between two of a virtual machine three quarters of a transaction are
        the wake-up of an idle processor, the same whatever the path is, and its noise.
        """
        return self.kind not in ("rr", "crr")


@dataclass(frozen=True)
class Reached:
    """What a client found: units a second, nanoseconds of its own and of all processors for each.

    Units are bytes, packets, transactions or connections; `p50` and `p99` are how many microseconds a
    transaction or connection took, 0 of others.
    """

    rate: float
    used: float
    used_by_all: float
    p50: float
    p99: float


@contextmanager
def server(built: Path, netns: str, *, ipv6: bool = False) -> Iterator[None]:
    """Serve in a namespace, IPv4 or IPv6."""
    command = [*_inside(netns, _PROCESSORS[0]), str(built), "serve6" if ipv6 else "serve", str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                raise BenchError(f"no server in {netns}")
            yield
        finally:
            process.kill()


def measure(built: Path, made: Traffic, netns: str, to: str, seconds: float, port: int = PORT) -> Reached:
    """Make traffic from a namespace."""
    program = [str(built), made.kind, to, str(port), f"{seconds:g}", str(made.streams)]
    command = [*_inside(netns, _PROCESSORS[-1 if made.apart else 0]), *program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        raise BenchError(f"{made.kind} from {netns} to {to}: {done.stderr.strip()}")
    return Reached(*map(float, done.stdout.split()))


def _inside(netns: str, processor: int) -> list[str]:
    # Before whatever else the machine does, which then counts little.
    return ["nice", "-n", "-10", "taskset", "-c", str(processor), "nsenter", f"--net={netns}", "--"]
