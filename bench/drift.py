"""Drift: what a peer's entries in the kernel can suffer from others, and how long it stays."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from bench import peers
from bench.events import Listener
from bench.node import Node
from quilt_netlink import Change, Delete, FdbEntry, Neighbour, Nexthop, Op, Put, Route

PEERS = 5000
PAUSE = 0.05


class Drift:
    """What can be done to a peer's entries behind the agent's back, and how their repair shows."""

    def __init__(self, node: Node, listener: Listener) -> None:
        self._node = node
        self._listener = listener
        self._index = node.device_index

    def sample(self, kind: str) -> float:
        """Milliseconds until the mesh is right again."""
        number = random.randint(1, PEERS - 1)
        op, repaired = getattr(self, f"_{kind}")(number)
        self._listener.forget()
        start = time.perf_counter()
        self._node.kernel.run(op)
        end = self._listener.wait(lambda change: change.new and repaired(change))
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
        return Put(wrong), lambda change: _is_route(change, number) and change.entry.nhid != other

    def _nexthop_deleted(self, number: int) -> tuple[Op, Callable[[Change], bool]]:
        nexthop = Nexthop(self._route(number).nhid, self._index, peers.vtep(number))
        return Delete(nexthop), lambda change: _is_route(change, number)

    def _nexthop_modified(self, number: int) -> tuple[Op, Callable[[Change], bool]]:
        nhid, gateway = self._route(number).nhid, peers.vtep(number)

        def repaired(change: Change) -> bool:
            """In place, or the route hangs on another one; the damage is notified for the route too."""
            if isinstance(change.entry, Nexthop):
                return change.entry.gateway == gateway
            return _is_route(change, number) and change.entry != Route(peers.subnet(number), 81, nhid=nhid)

        return Put(Nexthop(nhid, self._index, "10.42.250.0", 81)), repaired


def _is_route(change: Change, number: int) -> bool:
    entry = change.entry
    return isinstance(entry, Route) and entry.prefix == peers.subnet(number) and bool(entry.nhid)


KINDS = [
    f"{what}_{how}" for what in ("route", "nexthop", "fdb", "neighbour") for how in ("deleted", "modified")
]


def samples_of_all(node: Node, listener: Listener, each: int) -> dict[str, list[float]]:
    """Milliseconds until the mesh was right again, for each kind of damage as often as `each` says."""
    drift = Drift(node, listener)
    samples: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(each):
        for kind in KINDS:
            samples[kind].append(drift.sample(kind))
    time.sleep(1)
    assert len(node.kernel.routes(81)) == PEERS
    return samples
