"""Peers into an empty kernel, by the agent's own writer and a runtime in a process of its own, RPC included.

Each round starts from an empty device. Ours: the agent's desired state, diff, plan, netlink writes and the
ApplyRoutes call, until all is confirmed; processor time is that of both processes. The peer: `ip -batch`
and `bridge -batch` with the same entries (neighbour, FDB entry, nexthop object and route for each peer).
pyroute2 call by call is measured over fewer peers. All take turns on one machine.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyroute2 import IPRoute

from bench import peers
from bench.node import Node
from bench.result import Line, Plot, Result, Series, median
from bench.usage import own_processor, processor
from quilt_netlink import Kernel
from quilt_nodeagent.core.overlay import VXLAN
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.core.plan import make_plan
from quilt_nodeagent.dataplane import Dataplane
from quilt_nodeagent.executor.client import RuntimeClient
from quilt_nodeagent.executor.link import RuntimeLink
from quilt_nodeagent.metrics import Metrics

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Programming peers into an empty kernel"
SIZES = (254, 1000, 5000, 20000)
LIMITS = {5000: 0.45}
"""Times what the batches need, by the number of peers."""
BY_CALL = 1000
BATCHES = "ip -batch and bridge -batch"


class Mesh:
    """The agent's hands without its senses: a table of peers, the dataplane and the runtime."""

    def __init__(self, node: Node, count: int) -> None:
        self.node = node
        self.count = count
        self.table = PeerTable(peers.OWN_NODE, peers.DEVICE)
        self.table.replace(peers.peer(number) for number in range(1, count + 1))
        metrics = Metrics()
        self.client = RuntimeClient(f"unix://{node.socket}")
        link = RuntimeLink(self.client, metrics, restored=_nothing, changed=_nothing)
        self.dataplane = Dataplane(node.kernel, link, VXLAN, metrics)

    async def program(self) -> float:
        """Write all peers; return the seconds it took."""
        start = time.perf_counter()
        self.dataplane.tables.want_all(self.table.desired())
        errors = await self.dataplane.write(make_plan(self.dataplane.tables, self.dataplane.overlay))
        taken = time.perf_counter() - start
        assert not errors, errors[:3]
        return taken

    def empty(self) -> None:
        """Make the device again; routes and nexthops were deleted with the old one."""
        self.dataplane.index = self.node.fresh_device()
        self.dataplane.look()
        assert self.dataplane.tables.routes.empty


def _nothing() -> None:
    pass


def measure(bench: Bench) -> Result:
    with Node() as node:
        runtime = node.start_runtime().pid
        found = {count: asyncio.run(_compare(node, runtime, count, bench.rounds(5))) for count in SIZES}
        call_by_call = min(_call_by_call(node) for _ in range(bench.rounds(2)))
    return _result(found, call_by_call)


Times = dict[str, list[float]]


async def _compare(node: Node, runtime: int, count: int, rounds: int) -> Times:
    mesh = Mesh(node, count)
    scripts = peers.iproute2(node.folder, range(1, count + 1))
    times: Times = {"quilt": [], "iproute2": [], "quilt cpu": [], "iproute2 cpu": []}
    try:
        await mesh.client.status()
        # As the agent does: what was imported is no garbage.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        for _ in range(rounds):
            mesh.empty()
            used = processor(runtime) + own_processor()
            times["quilt"].append(await mesh.program())
            times["quilt cpu"].append(processor(runtime) + own_processor() - used)
            _check(node.kernel, mesh.dataplane.index, count)
            index = node.fresh_device()
            used = own_processor()
            times["iproute2"].append(_timed(lambda: _batches(node, *scripts)))
            times["iproute2 cpu"].append(own_processor() - used)
            _check(node.kernel, index, count)
    finally:
        await mesh.client.close()
    return times


def _batches(node: Node, ip: object, bridge: object) -> None:
    node.run("ip", "-batch", str(ip))
    node.run("bridge", "-batch", str(bridge))


def _timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _check(kernel: Kernel, index: int, count: int) -> None:
    found = [len(kernel.neighbours(index)), len(kernel.fdb(index))]
    found += [len(kernel.nexthops(81)), len(kernel.routes(81))]
    assert found == [count] * 4, found


def _call_by_call(node: Node) -> float:
    """Program BY_CALL peers with pyroute2's documented calls; return the seconds."""
    index = node.fresh_device()
    with IPRoute(netns=node.name) as ipr:
        start = time.perf_counter()
        for n in range(1, BY_CALL + 1):
            mac, vtep = peers.mac(n), peers.vtep(n)
            ipr.neigh("replace", dst=vtep, lladdr=mac, ifindex=index, state=0x80)
            ipr.fdb("append", lladdr=mac, ifindex=index, dst=peers.host(n))
            ipr.route("replace", dst=peers.subnet(n), gateway=vtep, oif=index, flags=4, proto=81)
        return time.perf_counter() - start


def _result(found: dict[int, Times], call_by_call: float) -> Result:
    own = {count: median(times["quilt"]) for count, times in found.items()}
    theirs = {count: median(times["iproute2"]) for count, times in found.items()}
    lines = [
        _against_batches(f"{count:,} peers", own[count], theirs[count], target=LIMITS.get(count))
        for count in found
    ]
    lines += [
        _against_batches(
            f"{count:,} peers, processor time", median(times["quilt cpu"]), median(times["iproute2 cpu"])
        )
        for count, times in found.items()
    ]
    each = {count: own[count] / count * 1e6 for count in found}
    lines += [
        Line(
            what="each of 20,000 peers",
            value=each[20000],
            unit="us",
            against="each of 1,000 peers",
            other=each[1000],
            target=1.3,
            target_is_ratio=True,
        ),
        Line(
            what="each of 1,000 peers",
            value=each[1000],
            unit="us",
            against="pyroute2 call by call, plain gateway routes",
            other=call_by_call / BY_CALL * 1e6,
        ),
    ]
    return Result(lines=lines, plots=[_plot(own, theirs, call_by_call)])


def _against_batches(what: str, own: float, theirs: float, target: float | None = None) -> Line:
    return Line(
        what=what,
        value=own * 1e3,
        unit="ms",
        against=BATCHES,
        other=theirs * 1e3,
        target=target,
        target_is_ratio=target is not None,
    )


def _plot(own: dict[int, float], theirs: dict[int, float], call_by_call: float) -> Plot:
    curves = {"Quilt Mesh (agent and runtime)": own, BATCHES: theirs}
    series = [
        Series(name=name, points=[(n, round(t * 1e3, 2)) for n, t in c.items()]) for name, c in curves.items()
    ]
    slope: list[tuple[float, float]] = [
        (n, round(call_by_call / BY_CALL * n * 1e3, 1)) for n in own if n <= BY_CALL
    ]
    series.append(Series(name="pyroute2 call by call", points=slope))
    return Plot(
        name="programming",
        title=TITLE,
        kind="line",
        x="peers",
        y="ms",
        series=series,
    )
