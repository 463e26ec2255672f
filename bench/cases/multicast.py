"""Multicast between three nodes, each with the agent's multicast as a process of its own.

A join is timed in the middle of a stream of 1,000 packets a second from another node: from the pod's call
to its first packet, each time by a group's only member on its node. A leave: from the pod's call to the
last packet that reaches its node, read off the VXLAN device's counter each millisecond. In such a stream
the process of the sender's and of the member's node is killed and started again: timed from the start to the
next packet that arrives. Then 200 groups with a sender each, 5 packets a second, on three nodes, while pods
make 50 joins a second and as many leaves for two minutes: what is sent from 250 ms after a join until 50 ms
before the leave must arrive, all of it.
"""

from __future__ import annotations

import select
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.multicast_churn import run
from bench.multicast_mesh import PORT, MulticastMesh, membership, numbered
from bench.result import Line, Plot, Result, Series, distribution, median, percentile

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Multicast between nodes"
GROUP = "239.77.0.1"
RATE = 1000


def measure(bench: Bench) -> Result:
    bench.say("joins and leaves")
    with MulticastMesh() as mesh:
        joins, fast = _joins_and_leaves(mesh, bench.rounds(200))
        restarts = [_restarted(mesh, node) for _ in range(bench.rounds(5)) for node in (1, 2)]
    with MulticastMesh(fast_leave=False) as mesh:
        _, slow = _joins_and_leaves(mesh, bench.rounds(10))
    bench.say("churn")
    with MulticastMesh() as mesh, tempfile.TemporaryDirectory() as folder:
        outcome = run(mesh, Path(folder), *((10, 2) if bench.quick else (120, 10)))
    for loss in outcome.lost()[1][:20]:
        bench.say(f"lost: {loss}")
    return Result(
        lines=[
            _line("join mid-stream to first packet", joins, 60),
            Line(what="the same, p99", value=percentile(joins, 99), unit="ms", target=250),
            _line("last leave to last packet, fast leave", fast, 500),
            Line(what="the same, longest", value=max(fast), unit="ms", target=500),
            Line(what="last leave to last packet without fast leave, longest", value=max(slow), unit="ms",
                 target=2500),
            Line(what="start of a killed one's successor to next packet, longest", value=max(restarts),
                 unit="ms", target=3000),
            *outcome.lines(),
        ],
        plots=[
            Plot(name="multicast-join", title="Join to first packet", kind="cdf", x="ms", y="share",
                 series=[Series(name="join", points=distribution(joins))]),
        ],
    )  # fmt: skip


def _line(what: str, values: list[float], target: float) -> Line:
    return Line(
        what=what,
        value=median(values),
        unit="ms",
        p50=median(values),
        p99=percentile(values, 99),
        target=target,
    )


def _joins_and_leaves(mesh: MulticastMesh, rounds: int) -> tuple[list[float], list[float]]:
    joins: list[float] = []
    leaves: list[float] = []
    count = mesh.received(2)
    receiver = mesh.receiver(2, GROUP)
    receiver.settimeout(10)
    with _Stream(mesh.sender(1), GROUP, RATE):
        time.sleep(0.2)
        for _ in range(rounds):
            started = time.perf_counter()
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership(GROUP))
            receiver.recv(100)
            joins.append((time.perf_counter() - started) * 1e3)
            time.sleep(0.1)
            started = time.perf_counter()
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, membership(GROUP))
            leaves.append((_quiet_since(count) - started) * 1e3)
            _empty(receiver)
    return joins, [max(value, 0.0) for value in leaves]


def _restarted(mesh: MulticastMesh, node: int) -> float:
    """Time from a killed node's start to the stream's next packet, in ms."""
    receiver = mesh.receiver(2, GROUP)
    receiver.settimeout(10)
    receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership(GROUP))
    with receiver, _Stream(mesh.sender(1), GROUP, RATE):
        receiver.recv(100)
        started = mesh.restart(node)
        _empty(receiver)
        receiver.recv(100)
        return (time.perf_counter() - started) * 1e3


def _quiet_since(count: Callable[[], int]) -> float:
    """Wait until a stream has ended; return when its last packet came. Agents' own few are overlooked."""
    window: list[tuple[float, int]] = []
    while True:
        now = time.perf_counter()
        window.append((now, count()))
        recent = [item for item in window if item[0] > now - 0.1]
        if window[0][0] < now - 0.15 and recent[-1][1] - recent[0][1] < RATE * 0.1 * 0.2:
            break
        time.sleep(0.001)
    last = window[0][0]
    for (_, before), (at, after) in zip(window[:-10], window[10:], strict=False):
        if after - before >= 4:
            last = at
    return last


def _empty(receiver: socket.socket) -> None:
    while select.select([receiver], [], [], 0)[0]:
        receiver.recv(100)


class _Stream:
    """A thread that sends at a rate while the block runs."""

    def __init__(self, sock: socket.socket, group: str, rate: int) -> None:
        self._sock, self._group, self._rate = sock, group, rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        due, number = time.monotonic(), 0
        while not self._stop.is_set():
            self._sock.sendto(numbered(number), (self._group, PORT))
            number += 1
            due += 1 / self._rate
            time.sleep(max(0.0, due - time.monotonic()))
