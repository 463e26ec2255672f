"""Packets between pods: Quilt Mesh's, Flannel's and those of the same devices made by hand, in turns.

Meshes of two nodes each on one machine: a node is a network namespace with the real runtime and what the
agent writes into the kernel, or with flanneld and its iptables rules, or with the devices and routes of Quilt
Mesh, made by `ip`, and no rule. Pods are namespaces that the real CNI plugins attached, as the manifests of
both chain them (`quilt-cni` and `portmap`; `bridge` with `host-local`, and `portmap`). All nodes have what
kubeadm asks of one, ip_forward and bridge-nf-call-iptables (and -ip6tables), systemd's loose source checks,
and what kube-proxy has on each, a Service's DNAT and masquerading of what is marked, so that connections are
tracked on all. Nodes share a bridge instead of a wire, and the machine its processors: figures are the path's
cost, not a network's.

All competitors make one kind of traffic to one place for 0.2 s, then the next kind, in twenty turns, each
time in another order, with priority over other work (nice -10). For streams and datagrams client and server
have a processor each. For transactions they share one: between two, most of a transaction's time is the
wake-up of an idle processor, the same whatever the path is, and its noise. Values are medians over turns,
their spread the lowest and the highest; p50 and p99 are those of one run. "Processors" are user, system and
interrupt time of all of the machine's.

Direct routing is by the link that nodes share (Flannel's DirectRouting). IPv6 is in a second mesh of each
that has both families; Flannel has another VXLAN device for it, over IPv6. Host ports are reached from a pod
of the other node. Servers with policies have a rule for 10 addresses and another port each, of which the last
admits the client. Quilt Mesh is measured again without the bridge guard, and without the rules that keep
overlay packets out of conntrack. A part can be measured alone: `--only "same node" --only request-response`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from bench.kinds import (
    FEW,
    FLANNEL,
    HANDMADE,
    HOST,
    KINDS,
    OTHERS,
    QUILT,
    RR,
    STREAMS,
    VARIANTS,
    Figure,
    Kind,
)
from bench.kinds import target as asked_of
from bench.mesh import BESIDE, CLUSTER_IP, OTHER, Mesh
from bench.node import BenchError
from bench.quilt_mesh import without
from bench.ratio import ratio
from bench.result import Line, Plot, Result, Series, median
from bench.runs import GROUPS, PLACES, Field, Run, variant
from bench.show import number
from bench.traffic import measure as traffic
from bench.traffic import program

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Packets between pods"
ROUNDS = 20
SECONDS, WARM_UP = 0.2, 0.05
FULL = (OTHER, BESIDE, CLUSTER_IP)
"""To these every kind of traffic is made."""
Samples = dict[tuple[str, str, Figure], list[float]]
"""By whose, where to, what figure."""


@dataclass(frozen=True)
class Parts:
    """What is asked for: kinds of traffic, groups of places and competitors, and for how long at a time."""

    kinds: list[Kind]
    groups: list[str]
    others: list[str]
    seconds: float

    def compared(self) -> Iterator[tuple[Kind, str]]:
        """Every kind to every place."""
        for kind, group in product(self.kinds, self.groups):
            if group in FULL or kind in FEW:
                yield kind, group


def measure(bench: Bench) -> Result:
    built, parts = program(bench.say), _parts(bench)
    samples: Samples = defaultdict(list)
    with ExitStack() as stack:
        field = Field(stack, built, parts.groups, parts.others, bench.say)
        for run in field.runs:
            # So that neighbours are known.
            traffic(built, RR.traffic, run.netns, run.way.address, WARM_UP, run.way.port)
        for turn in range(bench.rounds(ROUNDS)):
            bench.say(f"round {turn + 1}")
            for kind, group in parts.compared():
                runs = [run for run in field.runs if run.group == group]
                first = turn % len(runs)
                _take(samples, built, kind, runs[first:] + runs[:first], parts.seconds)
            if field.own:
                _take_variants(samples, built, field.own, parts)
    return _result(samples)


def _parts(bench: Bench) -> Parts:
    """Take what is asked for from the names that there are."""
    kinds = {kind.what: kind for kind in KINDS}
    if unknown := set(bench.only) - {*kinds, *GROUPS, *OTHERS}:
        known = "; ".join([*kinds, *GROUPS, *OTHERS])
        raise BenchError(f"no part {', '.join(sorted(unknown))}; there are: {known}")
    wanted = [kinds[what] for what in bench.chosen(kinds)]
    return Parts(wanted, bench.chosen(GROUPS), bench.chosen(OTHERS), bench.seconds(SECONDS))


def _take(samples: Samples, built: Path, kind: Kind, runs: Iterable[Run], seconds: float) -> None:
    """All competitors make one kind of traffic to one place: what is compared lies close together."""
    for run in runs:
        found = traffic(built, kind.traffic, run.netns, run.way.address, seconds, run.way.port)
        for place, figure in product(run.places, kind.figures):
            samples[run.whose, place, figure].append(figure.of(found))


def _take_variants(samples: Samples, built: Path, own: Mesh, parts: Parts) -> None:
    for what, name in VARIANTS.items():
        if name in parts.others:
            with without(own, what) as there:
                for kind in parts.kinds if there else ():
                    if kind in FEW:
                        _take(samples, built, kind, variant(own, name), parts.seconds)


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
    limit = asked_of(figure, place, other)
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
    figures = {kind.traffic.streams: kind.figures[0] for kind in STREAMS}
    shares: dict[str, list[tuple[float, float]]] = {QUILT: [], FLANNEL: [], HANDMADE: []}
    for (streams, figure), whose in product(figures.items(), shares):
        own, hosts = (samples.get((name, OTHER, figure)) for name in (whose, HOST))
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
