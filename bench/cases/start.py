"""From starting the agent's process to every peer verified in the kernel, with memory at each size.

The agent starts as in its pod: imports, the list of claims from a real API server under its own account, the
device, all entries through netlink and the runtime, and a dump that shows them. The kernel has no device
before. The limit beside it: the list of claims alone, read and thrown away. Memory is resident memory at
rest, a quarter of a minute later, of processes that have only started, as the chart installs them: with
probes of the paths. The sum of both is taken again with policies and probes off, and on; PSS beside it counts
what the two share once.

At 5,000 peers Flannel is started as well (see bench/flannel.py), with as many Nodes for its peers: until the
kernel reported its last route, as it does not look whether all is there.
"""

from __future__ import annotations

import http.client
import time
from typing import TYPE_CHECKING

from bench import flannel, peers
from bench.controlplane import ControlPlane
from bench.node import Node
from bench.result import Line, Plot, Result, Series, median
from bench.usage import proportional, resident
from quilt_crds.names import QUILTSUBNET
from quilt_netlink import Delete, Link

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Agent start to all peers verified"
SIZES = (254, 1000, 5000, 20000)
BESIDE = 5000
SETTLE = 15.0


def measure(bench: Bench) -> Result:
    control = bench.control()
    taken: dict[int, float] = {}
    listed: dict[int, float] = {}
    memory: dict[int, tuple[float, float]] = {}
    peer = 0.0, 0.0
    sums: dict[str, tuple[float, float]] = {}
    for count in SIZES:
        bench.say(f"{count} claims")
        control.claims(count)
        listed[count] = median([_list(control) for _ in range(bench.rounds(5))])
        taken[count], memory[count] = _size(control, count, bench.rounds(5))
        if count == BESIDE:
            sums = _with_features(control)
            peer = _flannel(bench, count)
    result = _result(taken, listed, memory, peer)
    result.lines += _sums(sums)
    return result


def _size(control: ControlPlane, count: int, rounds: int) -> tuple[float, tuple[float, float]]:
    """Median seconds, and MB of agent and runtime after the first start."""
    times = []
    with Node() as node:
        control.join(node)
        runtime = node.start_runtime()
        for number in range(rounds):
            agent = node.start_agent(control.credentials, control.address, control.port)
            received, event = agent.wait_event("dataplane_verified")
            assert event["peers"] == count, event
            assert len(node.kernel.routes(81)) == count
            times.append(received - agent.started)
            if number == 0:
                time.sleep(SETTLE)
                memory = resident(agent.pid), resident(runtime.pid)
            node.stop_agent()
            node.kernel.run(Delete(Link(peers.DEVICE)))
    return median(times), memory


def _with_features(control: ControlPlane) -> dict[str, tuple[float, float]]:
    """RSS and PSS in MB of agent and runtime together, without and with policies and probes."""
    control.probe(False)
    try:
        sums = {"off": _sum(control)}
    finally:
        control.probe(True)
    with control.policies():
        return {**sums, "on": _sum(control)}


def _sum(control: ControlPlane) -> tuple[float, float]:
    with Node() as node:
        control.join(node)
        node.start_runtime()
        node.start_agent(control.credentials, control.address, control.port).wait_event("dataplane_verified")
        time.sleep(SETTLE)
        pids = node.pids.values()
        return sum(map(resident, pids)), sum(map(proportional, pids))


def _sums(sums: dict[str, tuple[float, float]]) -> list[Line]:
    return [
        Line(
            what=f"agent and runtime, {kind} with {BESIDE:,} peers, policies and probes {state}",
            value=held[place],
            unit="MB",
            target=105 if (kind, state) == ("RSS", "off") else None,
        )
        for state, held in sums.items()
        for place, kind in enumerate(("RSS", "PSS"))
    ]


def _flannel(bench: Bench, count: int) -> tuple[float, float]:
    """Median seconds of Flannel's start, and its MB after the first one."""
    control = bench.control()
    with control.alone(), flannel.flannel(control, count, bench.say) as node:
        times = [node.start_flanneld(count)]
        time.sleep(SETTLE)
        memory = resident(node.pids["agent"])
        for _ in range(bench.rounds(5) - 1):
            node.stop_agent()
            times.append(node.start_flanneld(count))
    return median(times), memory


def _list(control: ControlPlane) -> float:
    """Seconds to read the list of claims."""
    address = control.local.removeprefix("https://")
    connection = http.client.HTTPSConnection(address, context=control.tls, timeout=30)
    connection.connect()
    start = time.perf_counter()
    connection.request("GET", QUILTSUBNET.path())
    connection.getresponse().read()
    taken = time.perf_counter() - start
    connection.close()
    return taken


def _result(
    taken: dict[int, float],
    listed: dict[int, float],
    memory: dict[int, tuple[float, float]],
    peer: tuple[float, float],
) -> Result:
    lines = [
        Line(
            what=f"start with {count:,} peers",
            value=taken[count] * 1e3,
            unit="ms",
            against="the list of claims alone",
            other=listed[count] * 1e3,
            target=1500 if count == BESIDE else None,
        )
        for count in taken
    ]
    for place, name, limit in ((0, "agent", 85), (1, "runtime", 60)):
        lines += [
            Line(
                what=f"{name}, memory with {count:,} peers",
                value=memory[count][place],
                unit="MB",
                target=limit if count == BESIDE else None,
            )
            for count in memory
        ]
        small, large = 1000, 20000
        each = (memory[large][place] - memory[small][place]) / (large - small) * 1e3
        lines.append(Line(what=f"{name}, memory for each peer", value=each, unit="KB", target=1.5))
    lines += _beside_flannel(taken[BESIDE], sum(memory[BESIDE]), peer)
    return Result(lines=lines, plots=_plots(taken, listed, memory))


def _plots(
    taken: dict[int, float], listed: dict[int, float], memory: dict[int, tuple[float, float]]
) -> list[Plot]:
    series = [
        Series(name="agent start to verified", points=[(n, round(t * 1e3)) for n, t in taken.items()]),
        Series(name="list of claims alone", points=[(n, round(t * 1e3, 1)) for n, t in listed.items()]),
    ]
    start = Plot(name="start", title=TITLE, kind="line", x="peers", y="ms", series=series)
    series = [
        Series(name=name, points=[(n, round(held[place], 1)) for n, held in memory.items()])
        for place, name in enumerate(("agent", "runtime"))
    ]
    used = Plot(name="memory", title="Resident memory", kind="time", x="peers", y="MB", series=series)
    return [start, used]


def _beside_flannel(seconds: float, megabytes: float, peer: tuple[float, float]) -> list[Line]:
    return [
        Line(
            what=f"start with {BESIDE:,} peers",
            value=seconds * 1e3,
            unit="ms",
            against="Flannel, to its last route",
            other=peer[0] * 1e3,
        ),
        Line(
            what=f"agent and runtime, memory with {BESIDE:,} peers",
            value=megabytes,
            unit="MB",
            against="Flannel",
            other=peer[1],
        ),
    ]
