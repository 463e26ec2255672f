"""Packets between pods, Quilt Mesh's and Flannel's in turns, beside the same traffic from host to host.

Two meshes of two nodes each on one machine: a node is a network namespace with the real runtime and what the
agent writes into the kernel, or with flanneld and its iptables rules; pods are namespaces that the real CNI
plugins attached (Flannel's by `bridge`, `host-local` and `portmap`, as in its manifest). Nodes share a bridge
instead of a wire, and all processors are shared: figures are the path's cost, not a network's. The client
sends to a pod of the other node, to one beside it, and to the other node's through a ClusterIP, which is one
DNAT rule, the same for both. Quilt Mesh is measured again without the bridge guard, and without the rules
that keep overlay packets out of conntrack. Traffic has priority over all other work of the machine (nice
-10). Medians over rounds; the spread is the lowest and the highest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import datapath
from bench.datapath import Mesh
from bench.plugins import Pods
from bench.result import Line, Plot, Result, Series, median
from bench.show import number
from bench.switch import Switch, host
from bench.traffic import BITS, program, server
from bench.traffic import measure as traffic

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Packets between pods"
ROUNDS = 9
SECONDS = 1.0
FLANNEL, QUILT, HOST = "Flannel", "Quilt Mesh", "host to host"
VARIANTS = {"guard": "without the guard", "untracking": "without untracking"}


@dataclass(frozen=True)
class Kind:
    """One kind of traffic; `scale` makes its figure one of `unit`."""

    what: str
    name: str
    streams: int
    unit: str
    scale: float


KINDS = (
    Kind("TCP, 1 stream", "stream", 1, "Gbit/s", BITS),
    Kind("TCP, 4 streams", "stream", 4, "Gbit/s", BITS),
    Kind("TCP, 16 streams", "stream", 16, "Gbit/s", BITS),
    Kind("UDP, 64 bytes", "udp", 1, "thousand packets/s", 1e-3),
    Kind("request-response", "rr", 1, "transactions/s", 1),
    Kind("connect-request-response", "crr", 1, "connections/s", 1),
)
Key = tuple[str, str, Kind]
"""Whose, where to, what kind."""
Samples = dict[Key, list[float]]


@dataclass(frozen=True)
class Run:
    """One path of traffic: whose it is, and between which namespaces."""

    whose: str
    place: str
    netns: str
    to: str


def measure(bench: Bench) -> Result:
    built = program(bench.say)
    samples: Samples = defaultdict(list)
    with ExitStack() as stack:
        switch = Switch(stack)
        pods = stack.enter_context(Pods(2 * datapath.PODS))
        own = datapath.quilt(switch, pods.names[: datapath.PODS])
        theirs = datapath.flanneled(switch, pods.names[datapath.PODS :], bench.say)
        for netns in (
            own.nodes[1].netns,
            *(pod.netns for mesh in (own, theirs) for pod in (mesh.beside, mesh.other)),
        ):
            stack.enter_context(server(built, netns))
        bare = Run(HOST, "other node", own.nodes[0].netns, host(2))
        for turn in range(bench.rounds(ROUNDS)):
            bench.say(f"round {turn + 1}")
            meshes = [*_runs(QUILT, own), *_runs(FLANNEL, theirs)]
            _take(samples, built, [bare, *(meshes if turn % 2 else meshes[::-1])], bench.seconds(SECONDS))
            _take_variants(samples, built, own, bench.seconds(SECONDS))
    return _result(samples)


def _runs(whose: str, mesh: Mesh) -> Iterator[Run]:
    return (Run(whose, place, mesh.client.netns, to) for place, to in mesh.places.items())


def _take(samples: Samples, built: Path, runs: list[Run], seconds: float) -> None:
    """All competitors make one kind of traffic, then the next: what is compared lies close together."""
    for kind in KINDS:
        for run in runs:
            found = traffic(built, run.netns, kind.name, run.to, seconds, kind.streams)
            samples[run.whose, run.place, kind].append(found * kind.scale)


def _take_variants(samples: Samples, built: Path, own: Mesh, seconds: float) -> None:
    for what, name in VARIANTS.items():
        with datapath.without(own, what) as there:
            if there:
                runs = [run for run in _runs(name, own) if run.place != "ClusterIP"]
                _take(samples, built, runs, seconds)


def _result(samples: Samples) -> Result:
    lines = []
    for place in ("other node", "same node", "ClusterIP"):
        for kind in KINDS:
            against = [(FLANNEL, place), (HOST, place), *((name, place) for name in VARIANTS.values())]
            for other, where in against:
                if theirs := samples.get((other, where, kind)):
                    lines.append(_line(kind, place, samples[QUILT, place, kind], other, theirs))
    return Result(lines=lines, plots=[_plot(samples)])


def _line(kind: Kind, place: str, own: list[float], other: str, theirs: list[float]) -> Line:
    spread = " and ".join(f"{number(min(taken))} to {number(max(taken))}" for taken in (own, theirs))
    return Line(
        what=f"{kind.what}, {place}",
        value=median(own),
        unit=kind.unit,
        against=other,
        other=median(theirs),
        note=f"spread {spread}",
    )


def _plot(samples: Samples) -> Plot:
    """Ours and Flannel's share of what hosts reach, over the number of streams."""
    streams = [kind for kind in KINDS if kind.name == "stream"]
    hosts = {kind: median(samples[HOST, "other node", kind]) for kind in streams}
    return Plot(
        name="datapath-tcp",
        title="TCP to the other node",
        kind="time",
        x="streams",
        y="share of host to host",
        series=[
            Series(
                name=name,
                points=[
                    (float(kind.streams), round(median(samples[whose, "other node", kind]) / hosts[kind], 4))
                    for kind in streams
                ],
            )
            for name, whose in (("Quilt Mesh", QUILT), ("Flannel", FLANNEL))
        ],
    )
