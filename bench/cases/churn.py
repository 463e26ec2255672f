"""100,000 changes in a mesh of 5,000 peers, through the API: what agent and runtime hold before and after.

Each change is a claim that becomes Down or Up, so a route, a nexthop object, a neighbour and an FDB entry
that are removed or made. The first tenth warms up. From there memory is read after every 5,000 changes, and
the median of the last five readings is compared with that of the first five: a single one may meet a message
under way.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from bench import peers
from bench.controlplane import ControlPlane
from bench.result import Line, Plot, Result, Series, median
from bench.usage import descriptors, resident
from quilt_crds.names import QUILTSUBNET, claim_name

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Memory over 100,000 changes"
PEERS = 5000
CHANGES = 100_000
STEP = 5_000
AT_ONCE = 5


def measure(bench: Bench) -> Result:
    control = bench.control()
    with control.node(PEERS) as node:
        pids = node.pids
        time.sleep(3)
        held = {name: [(0.0, resident(pid))] for name, pid in pids.items()}
        opened = {name: descriptors(pid) for name, pid in pids.items()}
        start = time.perf_counter()
        for done in range(STEP, (2 * STEP if bench.quick else CHANGES) + 1, STEP):
            _flip(control, "Down" if done // STEP % 2 else "Up")
            for name, pid in pids.items():
                held[name].append((float(done), round(resident(pid), 2)))
        seconds = time.perf_counter() - start
        time.sleep(3)
        lines = [_line(name, held[name], descriptors(pid) - opened[name]) for name, pid in pids.items()]
        assert len(node.kernel.routes(81)) == PEERS
    lines.append(Line(what="changes that went through, a second", value=done / seconds, unit=""))
    series = [Series(name=name, points=points) for name, points in held.items()]
    plot = Plot(name="churn", title=TITLE, kind="time", x="changes", y="MB resident", series=series)
    return Result(lines=lines, plots=[plot])


def _flip(control: ControlPlane, phase: str) -> None:
    """Make every claim Down or Up."""
    calls: list[tuple[str, str, Any]] = [
        ("PATCH", QUILTSUBNET.path(claim_name(peers.subnet(number))), {"mesh": {"phase": phase}})
        for number in range(1, PEERS + 1)
    ]
    asyncio.run(control.requests(calls))


def _line(name: str, held: list[tuple[float, float]], more_descriptors: int) -> Line:
    readings = [megabytes for _, megabytes in held[max(1, len(held) // 10) :]]
    warm = median(readings[:AT_ONCE])
    return Line(
        what=f"{name}, growth from the first tenth to the end",
        value=median(readings[-AT_ONCE:]) - warm,
        unit="MB",
        against="what it held then",
        other=warm,
        target=0.02,
        target_is_ratio=True,
        note=f"{more_descriptors:+d} descriptors",
    )
