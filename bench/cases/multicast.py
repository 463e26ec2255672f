"""Multicast between three nodes, each with the agent's multicast as a process of its own.

A join is timed in the middle of a stream of 1,000 packets a second from another node: from the pod's call to
its first packet, each time by a group's only member on its node. A leave: from the pod's call to the last
packet that reaches its node, read off the VXLAN device's counter each millisecond. Then 200 groups with a
sender each, on three nodes, while pods make 50 joins a second and as many leaves: from a member's first
packet until its leave every packet must arrive.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.multicast_mesh import PORT, MulticastMesh, membership, numbered
from bench.multicast_node import NODES
from bench.result import Line, Plot, Result, Series, distribution, median, percentile
from bench.usage import processor, resident

if TYPE_CHECKING:
    from bench.bench import Bench

TITLE = "Multicast between nodes"
GROUP = "239.77.0.1"
RATE = 1000
GROUPS = 200
CHURN = 50
GRACE = 0.25
# Seconds before a leave in which what was sent may still be on its way.
IN_FLIGHT = 0.1


def measure(bench: Bench) -> Result:
    bench.say("joins and leaves")
    with MulticastMesh() as mesh:
        joins, fast = _joins_and_leaves(mesh, bench.rounds(200))
    with MulticastMesh(fast_leave=False) as mesh:
        _, slow = _joins_and_leaves(mesh, bench.rounds(10))
    bench.say("churn")
    with MulticastMesh() as mesh:
        churn = Churn(mesh)
        churn.run(10 if bench.quick else 120)
        lines = churn.lines()
    return Result(
        lines=[
            _line("join mid-stream to first packet", joins, 60),
            Line(what="the same, p99", value=percentile(joins, 99), unit="ms", target=250),
            _line("last leave to last packet, fast leave", fast, 500),
            Line(what="the same, longest", value=max(fast), unit="ms", target=500),
            Line(what="last leave to last packet without fast leave, longest", value=max(slow), unit="ms",
                 target=2500),
            *lines,
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


class Churn:
    """200 groups, a sender each, and pods that come and go as members; one thread does it all."""

    def __init__(self, mesh: MulticastMesh) -> None:
        self._mesh = mesh
        self._groups = [f"239.78.{number // 250}.{number % 250 + 1}" for number in range(GROUPS)]
        self._senders = {node: mesh.sender(node) for node in NODES}
        self._sockets = {
            (node, group): mesh.receiver(node, group) for node in NODES for group in self._groups
        }
        self._sent: dict[str, list[float]] = {group: [] for group in self._groups}
        self._got: dict[tuple[int, str], set[int]] = {key: set() for key in self._sockets}
        self._since: dict[tuple[int, str], float] = {}
        self._periods: list[tuple[tuple[int, str], float, float]] = []
        self._poll = select.epoll()
        self._keys = {}
        for key, sock in self._sockets.items():
            sock.setblocking(False)
            self._keys[sock.fileno()] = key
            self._poll.register(sock.fileno(), select.EPOLLIN)
        self._joins = 0
        self.core = 0.0
        self.memory = (0.0, 0.0)

    def run(self, seconds: float) -> None:
        """Send, join, leave and receive for so long."""
        self._loop(min(5.0, seconds / 2))
        pids = [self._mesh.pid(node) for node in NODES]
        before = [processor(pid) for pid in pids]
        memory = [resident(pid) for pid in pids]
        started = time.monotonic()
        self._loop(seconds)
        took = time.monotonic() - started
        self.core = max((processor(pid) - b) / took for pid, b in zip(pids, before, strict=True))
        after = [resident(pid) for pid in pids]
        self.memory = max(zip(memory, after, strict=True), key=lambda pair: pair[1] - pair[0])
        end = time.monotonic()
        for key, since in list(self._since.items()):
            self._periods.append((key, since, end))
        self._loop(0.5, changes=False)

    def _loop(self, seconds: float, *, changes: bool = True) -> None:
        start = due = time.monotonic()
        sends = toggles = 0
        while (now := time.monotonic()) < start + seconds:
            # Never catching up: a burst after a pause of ours would measure queues, not multicast.
            due = max(due, now - 0.005)
            while changes and due <= now:
                self._send(self._groups[sends % GROUPS], sends % GROUPS)
                sends, due = sends + 1, due + 1 / (5 * GROUPS)
            while changes and toggles < (now - start) * 2 * CHURN:
                self._toggle(toggles)
                toggles += 1
            self._receive()

    def _send(self, group: str, place: int) -> None:
        sent = self._sent[group]
        self._senders[NODES[place % 3]].sendto(numbered(len(sent)), (group, PORT))
        sent.append(time.monotonic())

    def _toggle(self, number: int) -> None:
        # A walk that meets every (node, group) and never the same soon again.
        place = (self._joins + number) * 7919 % (GROUPS * 3)
        key = (NODES[place % 3], self._groups[place // 3])
        sock, now = self._sockets[key], time.monotonic()
        if key in self._since:
            self._periods.append((key, self._since.pop(key), now))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, membership(key[1]))
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership(key[1]))
            self._since[key] = now

    def _receive(self) -> None:
        for descriptor, _ in self._poll.poll(0.001, 500):
            key = self._keys[descriptor]
            try:
                while True:
                    self._got[key].add(struct.unpack("!Q", self._sockets[key].recv(100)[:8])[0])
            except BlockingIOError:
                continue

    def lines(self) -> list[Line]:
        """What was lost, and what it cost."""
        expected = lost = slow = 0
        for key, since, until in self._periods:
            due = [number for number, at in enumerate(self._sent[key[1]]) if since <= at <= until - IN_FLIGHT]
            came = next((place for place, number in enumerate(due) if number in self._got[key]), len(due))
            late = [number for number in due[:came] if self._sent[key[1]][number] > since + GRACE]
            slow += bool(late)
            expected += len(due) - came
            lost += sum(number not in self._got[key] for number in due[came:])
        count = len(self._periods)
        grown = self.memory[1] - self.memory[0]
        share = self.core * 100
        return [
            Line(what=f"lost of {expected:,} after a member's first", value=lost, unit="packets", target=0),
            Line(what=f"of {count:,} members without a packet for 250 ms", value=slow, unit="members"),
            Line(what="processor of one node's multicast", value=share, unit="% of a core", target=10),
            Line(what="growth of its memory over the churn", value=grown, unit="MB", target=2,
                 note=f"{self.memory[0]:.1f} MB at the beginning"),
        ]  # fmt: skip
