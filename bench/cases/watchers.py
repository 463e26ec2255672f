"""What 5,000 agents cost the API server that each watch 60 of 7,500 QuiltPeers by their labels.

Every watch is a TLS connection of its own, with the account of no administrator. Objects of 256 addresses are
written at a steady pace, as an operator writes them, each of them a label that some 40 watches select; then
the same with one watch, so that the difference is what the watches cost: the API server passes each change
by all of them. Processor time is the API server's, by its own clock. A delivery is timed from sending the
write to reading it, in the process that reads all of them. kube-controller-manager and the scheduler are
stopped meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from msgspec import to_builtins

from bench.controlplane import ControlPlane
from bench.node import Node
from bench.objects import ANYTHING
from bench.publishing import publisher
from bench.result import Line, Plot, Result, Series, median, percentile
from bench.usage import processor, resident
from bench.watchers import Watchers
from quilt_crds.names import QUILTPEERS, SELECTOR_LABEL, SLICE_SIZE
from quilt_crds.wire_policy import peers_name, peers_spec

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "5,000 agents that watch QuiltPeers"
MANY, OBJECTS, EACH = 5000, 7500, 60
PACES = (1, 10, 50)
"""Changes a second; at most 50 is what operators write."""
STATED = 10
SECONDS, SETTLES = 30.0, 20.0
"""For how long each pace is kept, and how long after so many connections came."""
Share = dict[int, float]
"""Per cent of a core by the pace; 0: nothing is written."""
Delays = dict[int, list[float]]
"""Milliseconds of each delivery, by the pace."""


def measure(bench: Bench) -> Result:
    control, seconds = bench.control(), bench.seconds(SECONDS)
    hashes = [sha256(str(number).encode()).hexdigest()[:16] for number in range(OBJECTS)]
    with control.alone(), Node() as node:
        control.join(node)
        bench.say(f"{OBJECTS} QuiltPeers")
        path = QUILTPEERS.path()
        asyncio.run(control.requests(("POST", path, _document(name, 0)) for name in hashes))
        try:
            writing = Writing(control, node, hashes, seconds)
            queries = _queries(hashes)
            with Watchers(control, node, path, queries[:1]) as one:
                bench.say("one watch")
                alone, _ = writing.at_all_paces(one)
                before = resident(control.api_server)
            bench.say(f"{MANY} watches")
            with Watchers(control, node, path, queries) as many:
                time.sleep(SETTLES)
                shares, delays = writing.at_all_paces(many)
                held = resident(control.api_server) - before
                bench.say(f"{many.open} of them are open at the end")
        finally:
            asyncio.run(control.requests([("DELETE", path, None)]))
    return _result(alone, shares, delays, held)


class Writing:
    """Writes objects at a pace for some seconds, and looks what the API server uses meanwhile."""

    def __init__(self, control: ControlPlane, node: Node, hashes: list[str], seconds: float) -> None:
        self._control, self._node, self._hashes, self._seconds = control, node, hashes, seconds
        self._number = 0

    def at_all_paces(self, watchers: Watchers) -> tuple[Share, Delays]:
        """What the API server used at each pace, and how long deliveries were on their way."""
        shares: Share = {}
        delays: Delays = {}
        for pace in (0, *PACES):
            watchers.delays.clear()
            used, begun = processor(self._control.api_server), time.perf_counter()
            self._write(watchers, pace)
            spent = processor(self._control.api_server) - used
            shares[pace] = 100 * spent / (time.perf_counter() - begun)
            delays[pace] = list(watchers.delays)
        return shares, delays

    def _write(self, watchers: Watchers, pace: int) -> None:
        if not pace:
            time.sleep(self._seconds)
            return
        with publisher(self._control, self._node, ANYTHING) as sender:
            begun = time.perf_counter()
            for turn in range(int(pace * self._seconds)):
                time.sleep(max(0.0, begun + turn / pace - time.perf_counter()))
                self._number += 1
                own = self._hashes[self._number % OBJECTS]
                body, name = {"spec": _document(own, self._number)["spec"]}, peers_name(own, 0)
                watchers.written[name.encode()] = time.perf_counter()
                sender.timed("PATCH", QUILTPEERS.path(name), body, time.perf_counter)


def _queries(hashes: list[str]) -> list[str]:
    """The labels of each watch, as agents select them."""
    chance = random.Random(1)
    labels = (",".join(chance.sample(hashes, EACH)) for _ in range(MANY))
    return [f"labelSelector={quote(SELECTOR_LABEL, safe='')}%20in%20({some})" for some in labels]


def _document(name: str, first: int) -> dict[str, Any]:
    """A full slice of the addresses from one on."""
    spec = peers_spec(1, "{}", range(first, first + SLICE_SIZE))
    meta = {"name": peers_name(name, 0), "labels": {SELECTOR_LABEL: name}}
    return QUILTPEERS.document(meta, spec=to_builtins(spec))


def _result(alone: Share, shares: Share, delays: Delays, held: float) -> Result:
    lines = [
        Line(
            what=f"the API server, changes a second: {pace}",
            value=shares[pace],
            unit="% of a core",
            against="one watch",
            other=alone[pace],
            note=f"{len(delays[pace]):,} deliveries" if pace else "",
        )
        for pace in shares
    ]
    each = (shares[STATED] - shares[0] - alone[STATED] + alone[0]) / 100 / STATED / MANY
    sample = delays[STATED]
    lines += [
        Line(what="… for each watch and change", value=each * 1e6, unit="us"),
        Line(what="… memory for each watch", value=held * 1e3 / MANY, unit="KB"),
        Line(
            what=f"a change to its delivery, at {STATED} a second",
            value=median(sample),
            unit="ms",
            p50=median(sample),
            p99=percentile(sample, 99),
        ),
    ]
    series = [
        Series(name=name, points=[(float(pace), round(found[pace], 2)) for pace in PACES])
        for name, found in ((f"{MANY:,} watches", shares), ("one watch", alone))
    ]
    plot = Plot(
        name="watchers",
        title="The API server and agents' watches of QuiltPeers",
        kind="line",
        x="changes a second",
        y="% of a core",
        series=series,
    )
    return Result(lines=lines, plots=[plot])
