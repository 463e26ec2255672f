"""From starting the agent's process to every peer verified in the kernel, with memory at each size.

The agent starts as in its pod: imports, the list of claims from a real API server under its own account, the
device, all entries through netlink and the runtime, and a dump that shows them. The kernel has no device
before. The limit beside it: the list of claims alone, read and thrown away. Memory is resident memory some
seconds later, of processes that have only started.
"""

from __future__ import annotations

import http.client
import time
from typing import TYPE_CHECKING

from bench import peers
from bench.controlplane import ControlPlane
from bench.node import Node
from bench.result import Line, Plot, Result, Series, median
from bench.usage import resident
from quilt_crds.names import QUILTSUBNET
from quilt_netlink import Delete, Link

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Agent start to all peers verified"
SIZES = (254, 1000, 5000, 20000)
SETTLE = 3.0


def measure(bench: Bench) -> Result:
    control = bench.control()
    taken: dict[int, float] = {}
    listed: dict[int, float] = {}
    memory: dict[int, tuple[float, float]] = {}
    for count in SIZES:
        bench.say(f"{count} claims")
        control.claims(count)
        listed[count] = median([_list(control) for _ in range(bench.rounds(5))])
        taken[count], memory[count] = _size(control, count, bench.rounds(5))
    return _result(taken, listed, memory)


def _size(control: ControlPlane, count: int, rounds: int) -> tuple[float, tuple[float, float]]:
    """Median seconds, and MB of agent and runtime after the first start."""
    times = []
    with Node() as node:
        control.join(node)
        runtime = node.start_runtime()
        for number in range(rounds):
            agent = node.start_agent(control.credentials, control.address, control.port)
            heard, event = agent.wait_event("dataplane_verified")
            assert event["peers"] == count, event
            assert len(node.kernel.routes(81)) == count
            times.append(heard - agent.started)
            if number == 0:
                time.sleep(SETTLE)
                memory = resident(agent.pid), resident(runtime.pid)
            node.stop_agent()
            node.kernel.run(Delete(Link(peers.DEVICE)))
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
    taken: dict[int, float], listed: dict[int, float], memory: dict[int, tuple[float, float]]
) -> Result:
    lines = [
        Line(
            what=f"start with {count:,} peers",
            value=taken[count] * 1e3,
            unit="ms",
            against="the list of claims alone",
            other=listed[count] * 1e3,
            target=1500 if count == 5000 else None,
        )
        for count in taken
    ]
    for place, name, limit in ((0, "agent", 85), (1, "runtime", 60)):
        lines += [
            Line(
                what=f"{name}, memory with {count:,} peers",
                value=memory[count][place],
                unit="MB",
                target=limit if count == 5000 else None,
            )
            for count in memory
        ]
        small, large = 1000, 20000
        each = (memory[large][place] - memory[small][place]) / (large - small) * 1e3
        lines.append(Line(what=f"{name}, memory for each peer", value=each, unit="KB", target=1.5))
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
    return Result(lines=lines, plots=[start, used])
