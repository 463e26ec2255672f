"""The files that one claim goes through, from the watch event to the netlink message: `python -m bench.walk`.

A real API server, agent and runtime; a claim is published, and both processes note which of our files they
enter until the kernel tells of the route. Several claims are published one after the other, and a file
counts when each of them entered it: what else a process does meanwhile is not on the way.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import peers
from bench.cases.latency import CLAIM, Publisher, publisher
from bench.controlplane import OPERATOR, ControlPlane
from bench.events import ROUTES, Listener
from bench.node import Node, until
from bench.walked import FOLDER
from quilt_netlink import Change, Route

PEERS, CLAIMS = 50, 10
MOST = 25
SETTLED = 2.0
"""Seconds after which nothing is left to do for the claim before."""
ROOT = Path(__file__).parents[1]
PACKAGES = {"agent": "quilt_nodeagent", "runtime": "quilt_runtime"}


def main() -> int:
    """Print the files; the exit code is 1 when there are more than a claim may go through."""
    with ControlPlane() as control, tempfile.TemporaryDirectory(prefix="quilt-walk-") as name:
        folder = Path(name)
        with control.alone(), walked(folder), control.node(PEERS) as node:
            files = claim_walk(control, node, folder)
    for number, (package, file) in enumerate(files, 1):
        sys.stdout.write(f"{number:3} {package:8} {file}\n")
    sys.stdout.write(f"{len(files)} steps, {len({file for _, file in files})} files (at most {MOST})\n")
    return 0 if len({file for _, file in files}) <= MOST else 1


@contextmanager
def walked(folder: Path) -> Iterator[None]:
    """Have nodes start their programs by `bench.walked`."""
    plain = Node.program
    Node.program = (sys.executable, "-m", "bench.walked")
    os.environ[FOLDER] = str(folder)
    try:
        yield
    finally:
        Node.program = plain
        del os.environ[FOLDER]


def claim_walk(control: ControlPlane, node: Node, folder: Path) -> list[tuple[str, str]]:
    """Return (process, file) in the order of entering, for what every claim entered."""
    walks = []
    with Listener(node.netns, ROUTES) as listener, publisher(control, node, OPERATOR) as operator:
        for number in range(PEERS + 1, PEERS + 1 + CLAIMS):
            time.sleep(SETTLED)
            _toggle(node)
            until(lambda: all((folder / f"{name}.on").exists() for name in PACKAGES.values()), "both note")
            route = _publish(operator, listener, number)
            _toggle(node)
            until(
                lambda: not any((folder / f"{name}.on").exists() for name in PACKAGES.values()), "both wrote"
            )
            walks.append(_entered(folder, route))
    common = set.intersection(*map(set, walks))
    last = walks[-1]
    return sorted(common, key=lambda step: last[step])


def _publish(operator: Publisher, listener: Listener, number: int) -> float:
    """Publish a peer's claim; return when its route was there."""
    ends: list[float] = []

    def arrived() -> float:
        ends.append(listener.wait(lambda change: change.new and prefix(change) == peers.subnet(number)))
        return ends[-1]

    operator.timed("POST", CLAIM.collection, CLAIM.body(number), arrived)
    return ends[-1]


def prefix(change: Change) -> str | None:
    """The destination of a route that a change tells of."""
    return change.entry.prefix if isinstance(change.entry, Route) else None


def _toggle(node: Node) -> None:
    for pid in node.pids.values():
        os.kill(pid, signal.SIGUSR2)


def _entered(folder: Path, until_moment: float) -> dict[tuple[str, str], float]:
    steps = {}
    for name, package in PACKAGES.items():
        for file, moment in json.loads((folder / package).read_text()).items():
            if moment <= until_moment:
                steps[name, str(Path(file).relative_to(ROOT))] = moment
    return steps


if __name__ == "__main__":
    sys.exit(main())
