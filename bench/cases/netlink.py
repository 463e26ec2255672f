"""quilt_netlink alone: the four entries of each peer written into an empty device, and read back.

No agent, no runtime, no RPC: the library's batch writer and dump reader. The peer: `ip -batch` and
`bridge -batch` with the same entries, in turn on the same machine; processor time beside wall-clock time, as
other load disturbs it less.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench import peers
from bench.node import Node
from bench.result import Line, Plot, Result, Series, median
from bench.usage import own_processor
from quilt_netlink import Create, FdbEntry, Kernel, Neighbour, Nexthop, Op, Put, Route

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "The netlink library alone"
SIZES = (254, 1000, 5000, 20000)
Taken = tuple[float, float]


def measure(bench: Bench) -> Result:
    found: dict[int, dict[str, Taken]] = {}
    with Node() as node:
        for count in SIZES:
            rounds = [_round(node, count) for _ in range(bench.rounds(5))]
            found[count] = {
                name: (median([r[name][0] for r in rounds]), median([r[name][1] for r in rounds]))
                for name in rounds[0]
            }
    return _result(found)


def _round(node: Node, count: int) -> dict[str, Taken]:
    scripts = peers.iproute2(node.folder, range(1, count + 1))
    index = node.fresh_device()
    ops = _operations(index, count)
    taken = {"write": _timed(lambda: _write(node.kernel, ops))}
    taken["read"] = _timed(lambda: _read(node.kernel, index, count))
    node.fresh_device()
    taken["iproute2"] = _timed(lambda: _batches(node, *scripts))
    return taken


def _operations(index: int, count: int) -> list[Op]:
    numbers = range(1, count + 1)
    ops: list[Op] = [Put(Neighbour(index, peers.vtep(n), peers.mac(n))) for n in numbers]
    ops += [Put(FdbEntry(index, peers.mac(n), peers.host(n))) for n in numbers]
    ops += [Create(Nexthop(n, index, peers.vtep(n), 81)) for n in numbers]
    ops += [Put(Route(peers.subnet(n), 81, nhid=n)) for n in numbers]
    return ops


def _timed(action: Callable[[], object]) -> Taken:
    start, used = time.perf_counter(), own_processor()
    action()
    return time.perf_counter() - start, own_processor() - used


def _write(kernel: Kernel, ops: list[Op]) -> None:
    failures = kernel.apply(ops)
    assert not failures, failures[:3]


def _read(kernel: Kernel, index: int, count: int) -> None:
    found = [len(kernel.neighbours(index)), len(kernel.fdb(index))]
    found += [len(kernel.nexthops(81)), len(kernel.routes(81))]
    assert found == [count] * 4, found


def _batches(node: Node, ip: object, bridge: object) -> None:
    node.run("ip", "-batch", str(ip))
    node.run("bridge", "-batch", str(bridge))


def _result(found: dict[int, dict[str, Taken]]) -> Result:
    peer = "ip -batch and bridge -batch"
    lines = [
        Line(
            what=f"{count:,} peers written, {name}",
            value=taken["write"][place] * 1e3,
            unit="ms",
            against=peer,
            other=taken["iproute2"][place] * 1e3,
        )
        for count, taken in found.items()
        for place, name in ((0, "wall clock"), (1, "processor"))
    ]
    lines += [
        Line(what=f"{count:,} peers read back", value=taken["read"][0] * 1e3, unit="ms")
        for count, taken in found.items()
    ]
    names = {"write": "quilt_netlink, write", "read": "quilt_netlink, read back", "iproute2": peer}
    series = [
        Series(name=text, points=[(n, round(taken[name][0] * 1e3, 2)) for n, taken in found.items()])
        for name, text in names.items()
    ]
    plot = Plot(name="netlink", title=TITLE, kind="line", x="peers", y="ms", series=series)
    return Result(lines=lines, plots=[plot])
