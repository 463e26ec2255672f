"""Calls of a runtime in a process of its own over its Unix socket, one after the other.

A status, a route injected by the contract's call (another one each time) and 5,000 routes in one bulk call
against `ip -batch` with the same nexthop objects and routes. The calls come from a synchronous client, as
third parties write one. The limit beside them: a gRPC server in Python that does nothing, over a Unix socket.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from bench import peers
from bench.node import Node
from bench.result import Line, Plot, Result, Series, distribution, median, percentile
from quilt_proto import node_pb2, node_pb2_grpc, runtime_pb2, runtime_pb2_grpc

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Calls of the runtime"
BULK = 5000


def measure(bench: Bench) -> Result:
    calls = bench.rounds(1000)
    with Node() as node:
        node.start_runtime()
        node.fresh_device()
        with grpc.insecure_channel(f"unix:{node.socket}") as channel:
            status = _status(channel, calls)
            inject = _inject(channel, calls)
            bulk, batch = _bulk(node, channel, bench.rounds(5))
        with _empty_server(node.folder) as address, grpc.insecure_channel(address) as channel:
            empty = _status(channel, calls)
    return _result(status, inject, empty, bulk, batch)


def _each(call: Callable[[int], object], count: int) -> list[float]:
    """Milliseconds of each call, after a few that warm up."""
    for number in range(10):
        call(number)
    taken = []
    for number in range(10, 10 + count):
        start = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


def _status(channel: grpc.Channel, count: int) -> list[float]:
    stub = node_pb2_grpc.NodeConfigStub(channel)
    return _each(lambda _: stub.GetStatus(node_pb2.GetStatusRequest()), count)


def _inject(channel: grpc.Channel, count: int) -> list[float]:
    stub = runtime_pb2_grpc.QuiltRuntimeStub(channel)

    def call(number: int) -> None:
        request = runtime_pb2.InjectRouteRequest(
            destination=peers.subnet(10000 + number), via_interface=peers.DEVICE
        )
        answer = stub.InjectRoute(request)
        assert answer.success, answer.error

    return _each(call, count)


def _bulk(node: Node, channel: grpc.Channel, rounds: int) -> tuple[list[float], list[float]]:
    stub = node_pb2_grpc.RouteTableStub(channel)
    numbers = range(1, BULK + 1)
    group = node_pb2.RouteGroup(
        interface=peers.DEVICE,
        destinations=[peers.subnet(n) for n in numbers],
        gateways=[peers.vtep(n) for n in numbers],
    )
    request = node_pb2.ApplyRoutesRequest(groups=[group], failures_only=True)
    script = peers.iproute2(node.folder, numbers)[0]
    # Routes and nexthop objects alone: the neighbours are the agent's.
    lines = [line for line in script.read_text().splitlines() if not line.startswith("neigh")]
    script.write_text("\n".join(lines) + "\n")
    bulk, batch = [], []
    for _ in range(rounds):
        node.fresh_device()
        start = time.perf_counter()
        answer = stub.ApplyRoutes(request)
        bulk.append((time.perf_counter() - start) * 1e3)
        assert not answer.results
        assert len(node.kernel.routes(81)) == BULK
        node.fresh_device()
        start = time.perf_counter()
        node.run("ip", "-batch", script)
        batch.append((time.perf_counter() - start) * 1e3)
    return bulk, batch


class _empty_server:  # noqa: N801  used like a function
    """A process whose server answers GetStatus with nothing."""

    def __init__(self, folder: Path) -> None:
        self._address = f"unix:{folder}/empty.sock"

    def __enter__(self) -> str:
        command = [sys.executable, "-m", "bench.empty_server", self._address]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        return self._address

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def _result(
    status: list[float], inject: list[float], empty: list[float], bulk: list[float], batch: list[float]
) -> Result:
    limit = median(empty)
    lines = [
        Line(
            what=what,
            value=median(taken),
            unit="ms",
            against="a call that does nothing",
            other=limit,
            p50=median(taken),
            p99=percentile(taken, 99),
            target=target,
        )
        for what, taken, target in (("GetStatus", status, 0.6), ("InjectRoute", inject, 1.0))
    ]
    lines.append(
        Line(
            what="ApplyRoutes, 5,000 routes",
            value=median(bulk),
            unit="ms",
            against="ip -batch",
            other=median(batch),
            target=80,
        )
    )
    named = (("a call that does nothing", empty), ("GetStatus", status), ("InjectRoute", inject))
    series = [Series(name=name, points=distribution(taken)) for name, taken in named]
    plot = Plot(name="rpc", title="Calls over the Unix socket", kind="cdf", x="ms", y="share", series=series)
    return Result(lines=lines, plots=[plot])
