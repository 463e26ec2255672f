"""Packets between pods: Quilt Mesh's, Flannel's and those of the same devices made by hand, in turns.

Meshes of two nodes each on one machine: a node is a network namespace with the real runtime and what the
agent writes into the kernel, or with flanneld and its iptables rules, or with the devices and routes of Quilt
Mesh, made by `ip`, and no rule. Pods are namespaces that the real CNI plugins attached (Flannel's by
`bridge`, `host-local` and `portmap`, as in its manifest). All nodes have what kubeadm asks of one, ip_forward
and bridge-nf-call-iptables, and what kube-proxy has on each, a Service's DNAT and masquerading of what is
marked, so that connections are tracked on all. Nodes share a bridge instead of a wire, and the machine its
processors: figures are the path's cost, not a network's. Client and server have a processor each, the same
for all, and priority over other work (nice -10). All competitors make one kind of traffic to one place for
0.3 s, then the next kind, in many turns, each time in another order. Values are medians over turns, their
spread the lowest and the highest; p50 and p99 are those of one run. "Processors" are all of the machine's.
Quilt Mesh is measured again without the bridge guard, and without the rules that keep overlay packets out of
conntrack. A part can be measured alone: `--only "same node" --only request-response`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from bench.flannel_mesh import flanneled
from bench.handmade import handmade
from bench.kinds import FLANNEL, HANDMADE, HOST, KINDS, PLACES, QUILT, STREAMS, Figure, Kind, target
from bench.mesh import PODS, Mesh
from bench.node import BenchError
from bench.plugins import Pods
from bench.quilt_mesh import quilt, without
from bench.ratio import ratio
from bench.result import Line, Plot, Result, Series, median
from bench.show import number
from bench.switch import Switch, host
from bench.traffic import measure as traffic
from bench.traffic import program, server

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Packets between pods"
ROUNDS = 15
SECONDS = 0.3
VARIANTS = {"guard": "without the guard", "untracking": "without untracking"}
OTHERS = (FLANNEL, HANDMADE, HOST, *VARIANTS.values())
Samples = dict[tuple[str, str, Figure], list[float]]
"""By whose, where to, what figure."""


@dataclass(frozen=True)
class Run:
    """One path of traffic: whose it is, and between which namespaces."""

    whose: str
    place: str
    netns: str
    to: str


@dataclass(frozen=True)
class Parts:
    """What is asked for: kinds of traffic, places and competitors, and for how long at a time."""

    kinds: list[Kind]
    places: list[str]
    others: list[str]
    seconds: float


def measure(bench: Bench) -> Result:
    built, parts = program(bench.say), _parts(bench)
    samples: Samples = defaultdict(list)
    with ExitStack() as stack:
        meshes = _meshes(bench, stack, parts.others)
        own = meshes[QUILT]
        for mesh in meshes.values():
            for pod in mesh.servers:
                stack.enter_context(server(built, pod.netns))
        runs = [run for whose, mesh in meshes.items() for run in _runs(whose, mesh, parts.places)]
        if HOST in parts.others and "other node" in parts.places:
            stack.enter_context(server(built, own.nodes[1].netns))
            runs.append(Run(HOST, "other node", own.nodes[0].netns, host(2)))
        for turn in range(bench.rounds(ROUNDS)):
            bench.say(f"round {turn + 1}")
            for kind, place in product(parts.kinds, parts.places):
                there = [run for run in runs if run.place == place]
                first = turn % len(there)
                _take(samples, built, kind, there[first:] + there[:first], parts.seconds)
            _take_variants(samples, built, own, parts)
    return _result(samples)


def _parts(bench: Bench) -> Parts:
    """Take what is asked for from the names that there are."""
    kinds = {kind.what: kind for kind in KINDS}
    if unknown := set(bench.only) - {*kinds, *PLACES, *OTHERS}:
        known = "; ".join([*kinds, *PLACES, *OTHERS])
        raise BenchError(f"no part {', '.join(sorted(unknown))}; there are: {known}")
    wanted = [kinds[what] for what in bench.chosen(kinds)]
    return Parts(wanted, bench.chosen(PLACES), bench.chosen(OTHERS), bench.seconds(SECONDS))


def _meshes(bench: Bench, stack: ExitStack, others: list[str]) -> dict[str, Mesh]:
    switch = Switch(stack)
    names = stack.enter_context(Pods(3 * PODS)).names
    meshes = {QUILT: quilt(switch, (1, 2), names[:PODS])}
    if FLANNEL in others:
        meshes[FLANNEL] = flanneled(switch, (3, 4), names[PODS : 2 * PODS], bench.say)
    if HANDMADE in others:
        meshes[HANDMADE] = handmade(switch, (5, 6), names[2 * PODS :])
    return meshes


def _runs(whose: str, mesh: Mesh, places: list[str]) -> Iterator[Run]:
    return (Run(whose, place, mesh.client.netns, mesh.places[place]) for place in places)


def _take(samples: Samples, built: Path, kind: Kind, runs: Iterable[Run], seconds: float) -> None:
    """All competitors make one kind of traffic to one place: what is compared lies close together."""
    for run in runs:
        found = traffic(built, run.netns, kind.name, run.to, seconds, kind.streams)
        for figure in kind.figures:
            samples[run.whose, run.place, figure].append(figure.of(found))


def _take_variants(samples: Samples, built: Path, own: Mesh, parts: Parts) -> None:
    for what, name in VARIANTS.items():
        if name in parts.others:
            with without(own, what) as there:
                runs = [run for run in _runs(name, own, parts.places) if run.place != "ClusterIP"]
                for kind in parts.kinds if there else ():
                    _take(samples, built, kind, runs, parts.seconds)


def _result(samples: Samples) -> Result:
    figures = [figure for kind in KINDS for figure in kind.figures]
    lines = []
    for place, figure in product(PLACES, figures):
        own = samples.get((QUILT, place, figure), [])
        beside = [
            (other, samples[other, place, figure]) for other in OTHERS if (other, place, figure) in samples
        ]
        lines += [_line(figure, place, own, other, theirs) for other, theirs in beside]
    return Result(lines=lines, plots=_plots(samples))


def _line(figure: Figure, place: str, own: list[float], other: str, theirs: list[float]) -> Line:
    spread = " and ".join(f"{number(min(taken))} to {number(max(taken))}" for taken in (own, theirs))
    limit = target(figure, place, other)
    return Line(
        what=f"{figure.what}, {place}",
        value=median(own),
        unit=figure.unit,
        against=other,
        other=median(theirs),
        turns=ratio(own, theirs),
        better=figure.better,
        target=limit,
        target_is_ratio=limit is not None,
        note=f"spread {spread}",
    )


def _plots(samples: Samples) -> list[Plot]:
    """Ours and others' share of what hosts reach, over the number of streams."""
    figures = {kind.streams: kind.figures[0] for kind in STREAMS}
    shares: dict[str, list[tuple[float, float]]] = {QUILT: [], FLANNEL: [], HANDMADE: []}
    for (streams, figure), whose in product(figures.items(), shares):
        own, hosts = (samples.get((name, "other node", figure)) for name in (whose, HOST))
        if own and hosts:
            shares[whose].append((float(streams), round(median(own) / median(hosts), 4)))
    return [
        Plot(
            name="datapath-tcp",
            title="TCP to the other node",
            kind="time",
            x="streams",
            y="share of host to host",
            series=[Series(name=whose, points=points) for whose, points in shares.items()],
        )
    ]
