"""What 5,000 and 10,000 agents cost the API server that all watch the same QuiltSubnets, while claims change.

Every watch is a TLS connection of its own, with the account of no administrator. Claims are changed at a
steady pace, as by nodes that become Down or Up, each change another claim's; every watch gets every change.
Timed is from sending the write to reading its last delivery, in one process that reads all of them and so
has its share in that. Processor time is the API server's, by its own clock; bytes are those of the watches,
without TLS. Where reader and API server together need both cores, that is the machine's limit: deliveries
come later and later, and the table shows how many did come. kube-controller-manager and the scheduler are
stopped meanwhile.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import peers
from bench.controlplane import ControlPlane
from bench.node import Node
from bench.objects import ANYTHING
from bench.publishing import CLAIM, publisher
from bench.result import Line, Plot, Result, Series, median, percentile
from bench.usage import processor, resident
from bench.watchers import Watchers

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Claims that change before 5,000 and 10,000 agents"
COUNTS, PACES = (5_000, 10_000), (1, 10)
"""Watches; changes a second: a node of 10,000 that dies in ten minutes, and a rolling restart of all."""
CLAIMS, SECONDS, SETTLES = 400, 30.0, 20.0


@dataclass(frozen=True, slots=True)
class Run:
    """One pace before so many watches: what the API server used, and the milliseconds to last deliveries."""

    watches: int
    pace: int
    share: float
    megabits: float
    last: list[float]
    came: float
    """The share of deliveries that came."""


def measure(bench: Bench) -> Result:
    control, seconds = bench.control(), bench.seconds(SECONDS)
    runs: list[Run] = []
    memory: dict[int, float] = {}
    hosts = map(peers.host, itertools.count(CLAIMS + 1))
    with control.alone(), Node() as node:
        control.join(node)
        control.claims(CLAIMS)
        before = resident(control.api_server)
        for count in COUNTS:
            bench.say(f"{count:,} watches")
            with Watchers(control, node, CLAIM.collection, [""] * count) as watchers:
                time.sleep(SETTLES)
                memory[count] = resident(control.api_server) - before
                for pace in PACES:
                    bench.say(f"{pace} a second")
                    runs.append(_run(control, node, watchers, (count, pace, seconds), hosts))
                bench.say(f"{watchers.open:,} of them are open at the end")
    return _result(runs, memory)


def _run(
    control: ControlPlane,
    node: Node,
    watchers: Watchers,
    wanted: tuple[int, int, float],
    hosts: Iterator[str],
) -> Run:
    """Change claims for so long at a pace; whatever is still under way then has as long again."""
    count, pace, seconds = wanted
    watchers.delays.clear()
    watchers.last.clear()
    used, got, begun = processor(control.api_server), watchers.received, time.perf_counter()
    changes = max(1, int(pace * seconds))
    with publisher(control, node, ANYTHING) as sender:
        for turn in range(changes):
            time.sleep(max(0.0, begun + turn / pace - time.perf_counter()))
            number = 1 + turn % CLAIMS
            name, body = CLAIM.name(number), {"mesh": {"hostIP": next(hosts)}}
            watchers.written[name.encode()] = time.perf_counter()
            sender.timed("PATCH", CLAIM.path(number), body, time.perf_counter)
    deadline = time.perf_counter() + seconds
    while len(watchers.delays) < changes * count and time.perf_counter() < deadline:
        time.sleep(0.05)
    taken = time.perf_counter() - begun
    return Run(
        count,
        pace,
        share=100 * (processor(control.api_server) - used) / taken,
        megabits=8e-6 * (watchers.received - got) / taken,
        last=list(watchers.last.values()),
        came=len(watchers.delays) / (changes * count),
    )


def _result(runs: list[Run], memory: dict[int, float]) -> Result:
    lines = []
    for run in runs:
        what = f"{run.watches:,} watches, {run.pace} a second"
        lines += [
            Line(
                what=f"{what}: a change to its last delivery",
                value=median(run.last),
                unit="ms",
                p50=median(run.last),
                p99=percentile(run.last, 99),
                note=f"{run.came:.1%} of deliveries came",
            ),
            Line(what=f"{what}: the API server", value=run.share, unit="% of a core"),
            Line(what=f"{what}: deliveries", value=run.megabits, unit="Mbit/s"),
        ]
    lines += [
        Line(what=f"{count:,} watches: memory for each", value=held * 1e3 / count, unit="KB")
        for count, held in memory.items()
    ]
    series = [
        Series(
            name=f"{count:,} watches",
            points=[(float(run.pace), round(run.share, 2)) for run in runs if run.watches == count],
        )
        for count in COUNTS
    ]
    plot = Plot(
        name="fanout",
        title="The API server while claims change",
        kind="line",
        x="changes a second",
        y="% of a core",
        series=series,
    )
    return Result(lines=lines, plots=[plot])
