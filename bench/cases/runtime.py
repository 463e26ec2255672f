"""The runtime as a process: from its start to the first answered RPC, RPC latency, memory, injected routes.

The floor is a Python process that only serves the same contract with grpc.aio, answering success: what
CPython and gRPC cost before a single line of the product. The figures of the original design, which is no
Python, are 50 ms, 1 ms and 5 MB. Each start is a new process; latencies are those of one client that calls
again and again over the Unix socket.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from bench.node import BenchError, Node, Process
from bench.result import Line, Plot, Result, Series, distribution, median, percentile
from bench.usage import resident
from quilt_proto import runtime_pb2 as pb
from quilt_proto import runtime_pb2_grpc as rpc

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "The runtime: start, RPC latency, memory"
STARTS = 15
CALLS = 1500
ROUTES = 500
FLOOR = "grpc.aio alone"
IDLE_S = 15.0

MINIMAL = """
import asyncio, sys
import grpc
from quilt_proto import runtime_pb2 as pb, runtime_pb2_grpc as rpc

class Service(rpc.QuiltRuntimeServicer):
    async def RemoveRoute(self, request, context):
        return pb.RemoveRouteResponse(success=True)

async def main():
    server = grpc.aio.server()
    rpc.add_QuiltRuntimeServicer_to_server(Service(), server)
    server.add_insecure_port(f"unix:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()

asyncio.run(main())
"""


def measure(bench: Bench) -> Result:
    with Node() as node:
        starts = [_start(node) for _ in range(bench.rounds(STARTS))]
        floors = [_floor(node, calls=0) for _ in range(bench.rounds(STARTS))]
        floor = _floor(node, calls=bench.rounds(CALLS))
        node.start_runtime()
        node.fresh_device()
        with grpc.insecure_channel(f"unix:{node.socket}") as channel:
            stub = rpc.QuiltRuntimeStub(channel)
            _subnet(stub)
            latencies = {name: _latency(call, bench.rounds(CALLS)) for name, call in _calls(stub).items()}
            injected = _inject(stub, bench.rounds(ROUTES))
        node.stop_runtime()
        memory = _idle_memory(node)
    return _result(starts, [found[0] for found in floors], memory, floor, latencies, injected)


def _subnet(stub: rpc.QuiltRuntimeStub) -> None:
    answer = stub.ConfigureNodeSubnet(pb.ConfigureNodeSubnetRequest(subnet="10.42.1.0/24"))
    if not answer.success:
        raise BenchError(answer.error)


def _calls(stub: rpc.QuiltRuntimeStub) -> dict[str, Callable[[], object]]:
    subnet = pb.ConfigureNodeSubnetRequest(subnet="10.42.1.0/24")
    route = pb.InjectRouteRequest(destination="10.42.2.0/24", via_interface="vxlan100")
    absent = pb.RemoveRouteRequest(destination="10.42.3.0/24")
    return {
        "ConfigureNodeSubnet": lambda: stub.ConfigureNodeSubnet(subnet),
        "InjectRoute": lambda: stub.InjectRoute(route),
        "RemoveRoute": lambda: stub.RemoveRoute(absent),
    }


def _latency(call: Callable[[], object], count: int) -> list[float]:
    """Milliseconds of each call, after a few that are not counted."""
    taken = []
    for number in range(count + 20):
        start = time.perf_counter()
        call()
        if number >= 20:
            taken.append((time.perf_counter() - start) * 1000)
    return taken


def _inject(stub: rpc.QuiltRuntimeStub, count: int) -> list[float]:
    """Milliseconds of each injection of a new route."""
    taken = []
    for number in range(count):
        request = pb.InjectRouteRequest(
            destination=f"10.{50 + number // 256}.{number % 256}.0/24", via_interface="vxlan100"
        )
        start = time.perf_counter()
        answer = stub.InjectRoute(request)
        taken.append((time.perf_counter() - start) * 1000)
        if not answer.success:
            raise BenchError(answer.error)
    return taken


def _first_answer(path: Path, started: float) -> float:
    """Milliseconds from a process' start to its first answer on a socket."""
    while not path.exists():
        time.sleep(0.001)
        if time.perf_counter() - started > 30:
            raise BenchError(f"no socket {path}")
    with grpc.insecure_channel(f"unix:{path}") as channel:
        stub = rpc.QuiltRuntimeStub(channel)
        stub.RemoveRoute(pb.RemoveRouteRequest(destination="10.42.9.0/24"), wait_for_ready=True, timeout=30)
    return (time.perf_counter() - started) * 1000


def _start(node: Node) -> float:
    options = [f"--socket-dir={node.socket.parent}", "--log-level=info"]
    process: Process = node._start("runtime", [sys.executable, "-m", "quilt_runtime", *options])
    try:
        return _first_answer(node.socket, process.started)
    finally:
        process.stop()


def _idle_memory(node: Node) -> float:
    """Resident megabytes of a runtime with a subnet that nobody asks anything."""
    process = node.start_runtime()
    time.sleep(IDLE_S)
    try:
        return resident(process.pid)
    finally:
        node.stop_runtime()


def _floor(node: Node, calls: int) -> tuple[float, float, list[float]]:
    """Start in milliseconds, memory in MB and RPC latencies of the minimal server."""
    path = node.folder / "floor.sock"
    path.unlink(missing_ok=True)
    started = time.perf_counter()
    process = subprocess.Popen(node.inside(sys.executable, "-c", MINIMAL, path))
    try:
        start = _first_answer(path, started)
        with grpc.insecure_channel(f"unix:{path}") as channel:
            stub = rpc.QuiltRuntimeStub(channel)
            request = pb.RemoveRouteRequest(destination="10.42.9.0/24")
            taken = _latency(lambda: stub.RemoveRoute(request), calls) if calls else []
        return start, resident(process.pid), taken
    finally:
        process.kill()
        process.wait()


def _result(
    starts: list[float],
    floor_starts: list[float],
    memory: float,
    floor: tuple[float, float, list[float]],
    latencies: dict[str, list[float]],
    injected: list[float],
) -> Result:
    _, floor_memory, floor_latency = floor
    lines = [
        Line(
            what="start to first RPC", value=median(starts), unit="ms", against=FLOOR,
            other=median(floor_starts), p50=median(starts), p99=percentile(starts, 99), target=400,
            note="the original design: 50 ms",
        ),
        Line(
            what="idle memory", value=memory, unit="MB", against=FLOOR, other=floor_memory, target=50,
            note="the original design: 5 MB",
        ),
    ]  # fmt: skip
    lines += [
        Line(
            what=f"RPC {name}", value=median(taken), unit="ms", against=FLOOR, other=median(floor_latency),
            p50=median(taken), p99=percentile(taken, 99), target=0.6, note="the original design: 1 ms",
        )
        for name, taken in latencies.items()
    ]  # fmt: skip
    lines.append(
        Line(
            what="a new route injected", value=median(injected), unit="ms", p50=median(injected),
            p99=percentile(injected, 99), target=5, note="the original design: 2 to 5 ms",
        )
    )  # fmt: skip
    series = [Series(name=name, points=distribution(taken)) for name, taken in latencies.items()]
    series.append(Series(name=FLOOR, points=distribution(floor_latency)))
    title, x, y = "RPC latency over the Unix socket", "milliseconds", "share of calls"
    plots = [Plot(name="runtime-rpc", title=title, kind="cdf", x=x, y=y, series=series, limit=0.6)]
    return Result(lines=lines, plots=plots)
