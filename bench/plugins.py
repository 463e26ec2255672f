"""CNI plugins as processes: called as a container engine does, from inside a node's network.

Run as a program (`python -m bench.plugins`, in the node's namespace) it reads calls from its standard input,
a JSON line for each batch, and answers each with a JSON line: seconds, exit code and output of every call.
So the time of a call is that of the plugin's process alone, and the same for every plugin.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.node import BenchError, Node

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one plugin; `arguments` are CNI_ARGS."""

    program: str
    verb: str
    container: str
    netns: str
    config: dict[str, Any]
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How long a call was, and its answer; `address` of an ADD's result."""

    seconds: float
    code: int
    text: str

    @property
    def address(self) -> str:
        return str(json.loads(self.text)["ips"][0]["address"]).partition("/")[0]


class Engine:
    """Calls plugins inside a node's network until closed."""

    def __init__(self, node: Node) -> None:
        command = node.inside(sys.executable, "-m", "bench.plugins")
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def calls(self, calls: Sequence[Call], parallel: int = 1) -> list[Outcome]:
        """Make the calls, so many at a time; outcomes in the calls' order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        batch = {"parallel": parallel, "calls": [asdict(call) for call in calls]}
        self._process.stdin.write(json.dumps(batch) + "\n")
        self._process.stdin.flush()
        return [Outcome(*found) for found in json.loads(self._process.stdout.readline())]

    def succeed(self, calls: Sequence[Call], parallel: int = 1) -> list[Outcome]:
        """As `calls`; raises BenchError where one fails."""
        outcomes = self.calls(calls, parallel)
        for call, outcome in zip(calls, outcomes, strict=True):
            if outcome.code:
                raise BenchError(f"{call.verb} of {Path(call.program).name} failed: {outcome.text}")
        return outcomes


class Pods:
    """Empty network namespaces; where a benchmark has several of these, `prefix` tells them apart."""

    def __init__(self, count: int, prefix: str = "") -> None:
        self.names = [f"quilt-bench-{os.getpid()}-{prefix}{number}" for number in range(count)]

    def __enter__(self) -> Self:
        for name in self.names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def build_plugin(folder: Path) -> Path:
    """Build quilt-cni as the image does."""
    from quilt_devcluster.binaries import go_program

    path = folder / "quilt-cni"
    command = [go_program(), "build", "-trimpath", "-ldflags=-s -w", "-o", str(path), "."]
    subprocess.run(command, cwd=ROOT / "cni", env={**os.environ, "CGO_ENABLED": "0"}, check=True)
    return path


def call(wanted: Call) -> Outcome:
    """Make one call from this very process."""
    environment = {
        "CNI_COMMAND": wanted.verb,
        "CNI_CONTAINERID": wanted.container,
        "CNI_NETNS": wanted.netns,
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": wanted.arguments,
        "CNI_PATH": str(Path(wanted.program).parent),
        "PATH": os.environ["PATH"],
    }
    with tempfile.TemporaryFile() as out:  # no pipe to drain: what is timed is the plugin
        start = time.perf_counter()
        process = subprocess.Popen([wanted.program], stdin=subprocess.PIPE, stdout=out, env=environment)
        process.communicate(json.dumps(wanted.config).encode())
        taken = time.perf_counter() - start
        out.seek(0)
        return Outcome(taken, process.returncode, out.read().decode())


def _serve() -> None:
    for line in sys.stdin:
        batch = json.loads(line)
        with ThreadPoolExecutor(batch["parallel"]) as pool:
            found = [astuple(done) for done in pool.map(call, (Call(**wanted) for wanted in batch["calls"]))]
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
