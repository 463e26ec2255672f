"""One change in a mesh of 5,000 peers: a claim made or deleted, an entry of the kernel deleted or modified.

A real API server, agent and runtime. A claim is timed from sending the request that makes it routable to the
kernel's own notification of the route; drift from the change to the notification of the entry as it should
be. Times are taken in the thread that makes the change. Changes come one by one: at most 20 a second, when
every program on the way has gone to sleep and its code has left the caches, and then without a pause, each as
soon as the last one is through.

A claim is published as the operator does it, with its token, and a Node with the token of a service account
too, as flanneld has one.

Then Flannel comes beside it (see bench/flannel.py), a node of its own on the same API server, with 5,000
Nodes for its peers, which the API server holds too: there it is a Node, with all that makes it routable, from
the request to the route. Both are measured in turns of fifty, the other one idle meanwhile, so that the ratio
is of the same minutes. The limit of both is the API server alone, measured before either runs: from the same
request to the event on a bare watch. kube-controller-manager and the scheduler are stopped for all of it, as
Nodes without kubelets would keep them busy.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from bench import flannel, peers
from bench.controlplane import OPERATOR, ControlPlane
from bench.drift import PAUSE, PEERS, samples_of_all
from bench.events import ROUTES, Listener
from bench.node import Node
from bench.objects import ANYTHING
from bench.publishing import CLAIM, NODE, Publisher, Thing, alone, publisher
from bench.result import Line, Plot, Result, Series, distribution, median, percentile
from quilt_netlink import Change, Route

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "One change at 5,000 peers"
TURN = 50
PACES = {"20 a second": PAUSE, "one after the other": 0.0}
"""Seconds between two changes."""
TARGETS = {50: 5.0, 99: 15.0}
"""Milliseconds by percentile."""
LIMITS = {50: 1.25, 99: 1.43}
"""Times what Flannel needs in the same minutes, by percentile: on any machine."""
Sample = list[float]


@dataclass(slots=True)
class Way:
    """From a thing in the API to one agent's route, and back: milliseconds of every time so far.

    There are `pause` seconds before each change.
    """

    thing: Thing
    publisher: Publisher
    listener: Listener
    pause: float = PAUSE
    published: Sample = field(default_factory=list)
    deleted: Sample = field(default_factory=list)

    def publish(self, number: int) -> None:
        body = self.thing.body(number)
        time.sleep(self.pause)
        self.listener.forget()
        route = partial(self._route, number, there=True)
        self.published.append(self.publisher.timed("POST", self.thing.collection, body, route))

    def delete(self, number: int) -> None:
        path = self.thing.path(number)
        time.sleep(self.pause)
        self.listener.forget()
        route = partial(self._route, number, there=False)
        if self.thing.ending is None:
            self.deleted.append(self.publisher.timed("DELETE", path, None, route))
        else:
            self.deleted.append(self.publisher.timed("PATCH", path, self.thing.ending, route))
            self.publisher.timed("DELETE", path, None, time.perf_counter)

    def _route(self, number: int, *, there: bool) -> float:
        prefix = peers.subnet(number)

        def is_added(change: Change) -> bool:
            return change.new is there and isinstance(change.entry, Route) and change.entry.prefix == prefix

        return self.listener.wait(is_added)


def measure(bench: Bench) -> Result:
    control = bench.control()
    control.claims(PEERS)
    numbers = range(PEERS + 1, PEERS + 1 + bench.rounds(300))
    with control.alone():
        alone = _limits(control, numbers)
        with control.node(PEERS) as node:
            time.sleep(2)
            # Before there is a Flannel: a namespace full of routes that is deleted holds up the kernel.
            with Listener(node.netns) as listener:
                drift = samples_of_all(node, listener, bench.rounds(60))
            with (
                Listener(node.netns, ROUTES) as listener,
                publisher(control, node, OPERATOR) as operator,
            ):
                by_itself = {pace: Way(CLAIM, operator, listener, pause) for pace, pause in PACES.items()}
                for way in by_itself.values():
                    _in_turn((way,), numbers)
            with (
                flannel.flannel(control, PEERS, bench.say) as peer,
                Listener(node.netns, ROUTES) as listener,
                Listener(peer.netns, ROUTES) as theirs,
            ):
                peer.start_flanneld(PEERS)
                time.sleep(5)
                with (
                    publisher(control, node, OPERATOR) as operator,
                    publisher(control, node, ANYTHING) as other,
                ):
                    in_turns = {
                        pace: (Way(CLAIM, operator, listener, pause), Way(NODE, other, theirs, pause))
                        for pace, pause in PACES.items()
                    }
                    for ways in in_turns.values():
                        _in_turn(ways, numbers)
    return _result(alone, by_itself, in_turns, drift)


def _in_turn(ways: tuple[Way, ...], numbers: range) -> None:
    for at in range(0, len(numbers), TURN):
        for way in ways:
            for number in numbers[at : at + TURN]:
                way.publish(number)
        for way in ways:
            for number in numbers[at : at + TURN]:
                way.delete(number)


def _limits(control: ControlPlane, numbers: range) -> tuple[Sample, Sample]:
    """What the API server needs to notify a watch of a claim, and of a Node; no agent runs."""
    with Node() as node:
        control.join(node)
        claims = alone(control, node, CLAIM, OPERATOR, numbers)
        return claims, alone(control, node, NODE, ANYTHING, numbers)


def _spread(what: str, sample: Sample, **more: Any) -> Line:
    value = median(sample)
    return Line(what=what, value=value, unit="ms", p50=value, p99=percentile(sample, 99), **more)


def _against(what: str, own: Sample, theirs: Sample, percent: int, target: float | None = None) -> Line:
    return Line(
        what=f"… in turns with Flannel, {what}, p{percent}",
        value=percentile(own, percent),
        unit="ms",
        against="Flannel, a Node",
        other=percentile(theirs, percent),
        target=target,
        target_is_ratio=True,
    )


def _result(
    alone: tuple[Sample, Sample],
    by_itself: dict[str, Way],
    in_turns: dict[str, tuple[Way, Way]],
    drift: dict[str, Sample],
) -> Result:
    named = {"API server alone, claim": alone[0]}
    lines = []
    for pace, way in by_itself.items():
        own, theirs = in_turns[pace]
        named |= {
            f"claim published, {pace}": way.published,
            f"the same, beside Flannel, {pace}": own.published,
            f"Flannel, Node published, {pace}": theirs.published,
        }
        lines += _at_a_pace(pace, way, own, theirs)
    everything = [value for sample in drift.values() for value in sample]
    lines += [
        _spread("the API server alone: claim published to event", alone[0]),
        _spread("the API server alone: Node published to event", alone[1]),
        Line(
            what="any drift repaired, p99",
            value=percentile(everything, 99),
            unit="ms",
            p50=median(everything),
            p99=percentile(everything, 99),
            target=50,
        ),
    ]
    lines += [_spread(f"{kind.replace('_', ' ')}, repaired", sample) for kind, sample in drift.items()]
    repaired = {kind.replace("_", " "): sample for kind, sample in drift.items()}
    plots = [
        _plot("claims", "A claim to the kernel's route", named),
        _plot("drift", "Drift repaired", repaired, 50),
    ]
    return Result(lines=lines, plots=plots)


def _at_a_pace(pace: str, way: Way, own: Way, theirs: Way) -> list[Line]:
    lines = [
        Line(
            what=f"claim published to route in the kernel, {pace}, p{percent}",
            value=percentile(way.published, percent),
            unit="ms",
            target=target,
        )
        for percent, target in TARGETS.items()
    ]
    lines += [
        _against(f"published, {pace}", own.published, theirs.published, percent, limit)
        for percent, limit in LIMITS.items()
    ]
    lines += [
        _spread(f"claim deleted to route gone, {pace}", way.deleted),
        _against(f"deleted, {pace}", own.deleted, theirs.deleted, 50),
    ]
    return lines


def _plot(name: str, title: str, samples: dict[str, Sample], limit: float | None = None) -> Plot:
    series = [Series(name=key, points=distribution(sample)) for key, sample in samples.items()]
    return Plot(name=name, title=title, kind="cdf", x="ms", y="share", series=series, limit=limit)
