"""Traffic between network namespaces: a small C program, built when first asked for and kept.

One server serves every kind of traffic; a client makes one kind for some time and prints what it reached.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.node import BenchError
from quilt_devcluster import paths
from quilt_devcluster.binaries import Progress, locked
from quilt_devcluster.shell import run

SOURCE = Path(__file__).parent / "tools" / "datapath" / "datapath.c"
PORT = 5999
BITS = 8 / 1e9


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


@contextmanager
def server(built: Path, netns: str) -> Iterator[None]:
    """Serve in a namespace."""
    command = [*_inside(netns), str(built), "serve", str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                raise BenchError(f"no server in {netns}")
            yield
        finally:
            process.kill()


def measure(built: Path, netns: str, kind: str, to: str, seconds: float, streams: int = 1) -> float:
    """Make traffic of a kind from a namespace; return what it reached a second, in the program's units."""
    return accounted(built, netns, kind, to, seconds, streams)[0]


def accounted(
    built: Path, netns: str, kind: str, to: str, seconds: float, streams: int = 1
) -> tuple[float, float]:
    """As measure, and the nanoseconds of the client's processor for each of the program's units."""
    command = [*_inside(netns), str(built), kind, to, str(PORT), f"{seconds:g}", str(streams)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        raise BenchError(f"{kind} from {netns} to {to}: {done.stderr.strip()}")
    reached, used = map(float, done.stdout.split())
    return reached, used


def _inside(netns: str) -> list[str]:
    # Before whatever else the machine does, which then counts little.
    return ["nice", "-n", "-10", "nsenter", f"--net={netns}", "--"]
