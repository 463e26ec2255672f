"""One change in a mesh of 5,000 peers: a claim comes or goes, an entry of the kernel is deleted or modified.

A real API server, agent and runtime. A claim is timed from sending the request that makes it routable to the
kernel's own notification of the route; drift from the change to the notification of the entry as it should
be. Times are taken in the thread that makes the change. The limit beside it is the API server alone: from the
same request to the event on a bare watch. Changes come one by one, at most 20 a second.
"""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from bench import peers
from bench.events import Listener
from bench.node import Node
from bench.result import Line, Plot, Result, Series, distribution, median, percentile
from quilt_crds.names import QUILTSUBNET, claim_name
from quilt_netlink import Change, Delete, FdbEntry, Neighbour, Nexthop, Op, Put, Route

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "One change at 5,000 peers"
PEERS = 5000
PAUSE = 0.05
Sample = list[float]


def measure(bench: Bench) -> Result:
    control = bench.control()
    numbers = range(PEERS + 1, PEERS + 1 + bench.rounds(300))
    with control.node(PEERS) as node:
        time.sleep(2)
        with Listener(node.netns) as listener, closing(control.session(node)) as session:
            with closing(control.session(node)) as watching:
                alone = _alone(session, watching, numbers)
            added = [_publish(session, listener, number) for number in numbers]
            removed = [_delete(session, listener, number) for number in numbers]
            time.sleep(1)
            drift = _all_drift(node, listener, bench.rounds(60))
    return _result(alone, added, removed, drift)


def _timed(
    session: http.client.HTTPSConnection, method: str, path: str, body: Any, heard: Callable[[], float]
) -> float:
    """Send a request and wait for what it brings about; return the milliseconds between."""
    time.sleep(PAUSE)
    payload = json.dumps(body).encode() if body else None
    start = time.perf_counter()
    session.request(method, path, payload, {"Content-Type": "application/json"})
    end = heard()
    answer = session.getresponse()
    text = answer.read()
    assert answer.status < 300, text
    return (end - start) * 1e3


def _path(number: int) -> str:
    return QUILTSUBNET.path(claim_name(peers.subnet(number)))


def _publish(session: http.client.HTTPSConnection, listener: Listener, number: int) -> float:
    prefix = peers.subnet(number)
    listener.forget()
    return _timed(
        session,
        "POST",
        QUILTSUBNET.path(),
        peers.peer_claim(number),
        lambda: listener.wait(lambda c: c.new and isinstance(c.entry, Route) and c.entry.prefix == prefix),
    )


def _delete(session: http.client.HTTPSConnection, listener: Listener, number: int) -> float:
    prefix = peers.subnet(number)
    listener.forget()
    return _timed(
        session,
        "DELETE",
        _path(number),
        None,
        lambda: listener.wait(
            lambda c: not c.new and isinstance(c.entry, Route) and c.entry.prefix == prefix
        ),
    )


def _alone(
    session: http.client.HTTPSConnection, watching: http.client.HTTPSConnection, numbers: range
) -> Sample:
    """What the API server takes from a request to the event of a watch, nobody else involved."""
    watching.request("GET", QUILTSUBNET.path() + "?limit=1")
    version = json.loads(watching.getresponse().read())["metadata"]["resourceVersion"]
    watching.request("GET", f"{QUILTSUBNET.path()}?watch=true&resourceVersion={version}")
    stream = watching.getresponse()

    def heard(number: int) -> float:
        name = claim_name(peers.subnet(number)).encode()
        while name not in stream.readline():
            pass
        return time.perf_counter()

    taken = []
    for number in numbers:
        body = peers.peer_claim(number)
        taken.append(_timed(session, "POST", QUILTSUBNET.path(), body, lambda n=number: heard(n)))
        _timed(session, "DELETE", _path(number), None, lambda n=number: heard(n))
    return taken


class Drift:
    """What can be done to a peer's entries behind the agent's back, and how it shows that they are mended."""

    def __init__(self, node: Node, listener: Listener) -> None:
        self._node = node
        self._listener = listener
        link = node.kernel.link(peers.DEVICE)
        assert link is not None
        self._index = link.index

    def sample(self, kind: str) -> float:
        """Milliseconds until the mesh is right again."""
        number = random.randint(1, PEERS - 1)
        op, mended = getattr(self, f"_{kind}")(number)
        self._listener.forget()
        start = time.perf_counter()
        self._node.kernel.run(op)
        end = self._listener.wait(lambda change: change.new and mended(change))
        time.sleep(PAUSE)
        return (end - start) * 1e3

    def _neighbour(self, number: int) -> Neighbour:
        return Neighbour(self._index, peers.vtep(number), peers.mac(number))

    def _fdb(self, number: int) -> FdbEntry:
        return FdbEntry(self._index, peers.mac(number), peers.host(number))

    def _route(self, number: int) -> Route:
        address = peers.vtep(number).removesuffix("0") + "1"
        route = self._node.kernel.route_get(address, fib_match=True)
        assert route is not None
        return route

    def _neighbour_deleted(self, number: int) -> tuple[Op, Callable[[Change], bool]]:
        right = self._neighbour(number)
        return Delete(right), lambda change: change.entry == right

    def _neighbour_modified(self, number: int) -> tuple[Op, Callable[[Change], bool]]:
        right = self._neighbour(number)
        wrong = Neighbour(right.ifindex, right.address, "02:00:00:00:00:01")
        return Put(wrong), lambda change: change.entry == right

    def _fdb_deleted(self, number: int) -> tuple[Op, Callable[[Change], bool]]:
        right = self._fdb(number)
        return Delete(right), lambda change: change.entry == right

    def _fdb_modified(self, number: int) -> tuple[Op, Callable[[Change], bool]]:
        right = self._fdb(number)
        wrong = FdbEntry(right.ifindex, right.mac, "198.18.255.1")
        return Put(wrong), lambda change: change.entry == right

    def _route_deleted(self, number: int) -> tuple[Op, Callable[[Change], bool]]:
        right = self._route(number)
        return Delete(right), lambda change: _is_route(change, number)

    def _route_modified(self, number: int) -> tuple[Op, Callable[[Change], bool]]:
        other = self._route(number + 1).nhid
        wrong = Route(peers.subnet(number), 81, nhid=other)
        return Put(wrong), lambda change: _is_route(change, number) and change.entry.nhid != other  # type: ignore[union-attr]

    def _nexthop_deleted(self, number: int) -> tuple[Op, Callable[[Change], bool]]:
        nexthop = Nexthop(self._route(number).nhid, self._index, peers.vtep(number))
        return Delete(nexthop), lambda change: _is_route(change, number)

    def _nexthop_modified(self, number: int) -> tuple[Op, Callable[[Change], bool]]:
        nhid, gateway = self._route(number).nhid, peers.vtep(number)

        def mended(change: Change) -> bool:
            """In place, or the route hangs on another one; the damage itself is told for the route too."""
            if isinstance(change.entry, Nexthop):
                return change.entry.gateway == gateway
            return _is_route(change, number) and change.entry != Route(peers.subnet(number), 81, nhid=nhid)

        return Put(Nexthop(nhid, self._index, "10.42.250.0")), mended


def _is_route(change: Change, number: int) -> bool:
    entry = change.entry
    return isinstance(entry, Route) and entry.prefix == peers.subnet(number) and bool(entry.nhid)


KINDS = [
    f"{what}_{how}" for what in ("route", "nexthop", "fdb", "neighbour") for how in ("deleted", "modified")
]


def _all_drift(node: Node, listener: Listener, each: int) -> dict[str, Sample]:
    drift = Drift(node, listener)
    samples: dict[str, Sample] = {kind: [] for kind in KINDS}
    for _ in range(each):
        for kind in KINDS:
            samples[kind].append(drift.sample(kind))
    time.sleep(1)
    assert len(node.kernel.routes(81)) == PEERS
    return samples


def _result(alone: Sample, added: Sample, removed: Sample, drift: dict[str, Sample]) -> Result:
    everything = [value for sample in drift.values() for value in sample]
    limit = "the API server alone"
    lines = [
        Line(
            what="claim published to route in the kernel, p50",
            value=median(added),
            unit="ms",
            against=limit,
            other=median(alone),
            target=5,
        ),
        Line(
            what="claim published to route in the kernel, p99",
            value=percentile(added, 99),
            unit="ms",
            against=limit,
            other=percentile(alone, 99),
            target=15,
        ),
        Line(
            what="claim deleted to route gone",
            value=median(removed),
            unit="ms",
            p50=median(removed),
            p99=percentile(removed, 99),
        ),
        Line(
            what="any drift repaired, p99",
            value=percentile(everything, 99),
            unit="ms",
            p50=median(everything),
            p99=percentile(everything, 99),
            target=50,
        ),
    ]
    lines += [
        Line(
            what=f"{kind.replace('_', ' ')}, repaired",
            value=median(sample),
            unit="ms",
            p50=median(sample),
            p99=percentile(sample, 99),
        )
        for kind, sample in drift.items()
    ]
    named = {"API server alone": alone, "claim published": added, "claim deleted": removed}
    series = [Series(name=name, points=distribution(sample)) for name, sample in named.items()]
    claims = Plot(
        name="claims", title="A claim to the kernel's route", kind="cdf", x="ms", y="share", series=series
    )
    series = [Series(name=k.replace("_", " "), points=distribution(sample)) for k, sample in drift.items()]
    repairs = Plot(
        name="drift", title="Drift repaired", kind="cdf", x="ms", y="share", series=series, limit=50
    )
    return Result(lines=lines, plots=[claims, repairs])
