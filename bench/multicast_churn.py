"""200 groups with a sender each, and pods of three nodes that come and go as members: what is lost meanwhile.

Membership belongs to the pod, so joins and leaves are made by sockets of this process, while another one
receives for the whole pod.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from bench.multicast_mesh import MulticastMesh, membership
from bench.multicast_node import NODES
from bench.multicast_traffic import GROUPS, read, sender_of
from bench.result import Line, percentile
from bench.usage import processor, resident

# Joins a second, and as many leaves once the pods are members of half of everything.
CHURN = 50
# Seconds after a join from which nothing may be lost, and before a leave in which packets are on their way.
GRACE, IN_FLIGHT = 0.25, 0.05
_SECOND = 1_000_000_000

Place = tuple[int, int]
"""Node (0 to 2) and group (0 to 199)."""


@dataclass
class Outcome:
    """What a run showed; times in nanoseconds since 1970."""

    periods: list[tuple[Place, int, int]] = field(default_factory=list)
    sent: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    got: dict[Place, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    joins: int = 0
    seconds: float = 0.0
    core: float = 0.0
    memory: list[float] = field(default_factory=list)

    def due(self, place: Place, since: int, until: int) -> list[int]:
        """Numbers of the packets that a member must have received."""
        first, last = since + int(GRACE * _SECOND), until - int(IN_FLIGHT * _SECOND)
        return [number for number, at in enumerate(self.sent[place[1]]) if first <= at <= last]

    def lost(self) -> tuple[int, list[str]]:
        """How many packets were due, and each one that did not come, in words."""
        count, found = 0, []
        for place, since, until in self.periods:
            got = self.got[place]
            for number in self.due(place, since, until):
                count += 1
                if number not in got:
                    found.append(self._describe(place, number, since, until))
        return count, found

    def _describe(self, place: Place, number: int, since: int, until: int) -> str:
        node, group = place
        at = self.sent[group][number]
        others = [NODES[other] for other in range(3) if number in self.got[other, group]]
        return (
            f"node {NODES[node]} of {GROUPS[group]} from node {NODES[sender_of(group)]}, number {number}: "
            f"{(at - since) / _SECOND:.3f} s after its join, {(until - at) / _SECOND:.3f} s before its end; "
            f"came to nodes {others}"
        )

    def transit(self) -> list[float]:
        """How long each received packet took, in ms."""
        return [
            (arrived - self.sent[place[1]][number]) / 1e6
            for place, numbers in self.got.items()
            for number, arrived in numbers.items()
            if number < len(self.sent[place[1]])
        ]

    def lines(self) -> list[Line]:
        """The figures."""
        count, found = self.lost()
        transit = self.transit()
        grown = self.memory[-1] - self.memory[0]
        packets = sum(map(len, self.sent.values()))
        return [
            Line(what=f"lost of {count:,} packets due to members from {GRACE * 1e3:.0f} ms after their join",
                 value=len(found), unit="packets", target=0,
                 note=f"{len(self.periods):,} memberships, {self.joins / self.seconds:.1f} joins/s, "
                      f"{packets:,} packets sent"),
            Line(what="sender to member, p99", value=percentile(transit, 99), unit="ms",
                 note=f"longest {max(transit):.1f} ms"),
            Line(what="processor of one node's multicast", value=self.core * 100, unit="% of a core",
                 target=10),
            Line(what="growth of its memory over the churn", value=grown, unit="MB", target=2,
                 note=f"{self.memory[0]:.1f} MB at the beginning"),
        ]  # fmt: skip


class Churn:
    """Joins and leaves of one run."""

    def __init__(self, mesh: MulticastMesh, outcome: Outcome) -> None:
        self._outcome = outcome
        self._sockets = {
            (node, group): mesh.sender(NODES[node]) for node in range(3) for group in range(len(GROUPS))
        }
        self._since: dict[Place, int] = {}
        self._turn = 0

    def run(self, seconds: float) -> None:
        """Join and leave for so long, at an even pace, never catching up."""
        end, due = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end:
            self._toggle()
            due = max(due + 0.5 / CHURN, time.monotonic() - 0.01)
            time.sleep(max(0.0, due - time.monotonic()))

    def end(self) -> None:
        """Count the memberships that still stand."""
        for place, since in self._since.items():
            self._outcome.periods.append((place, since, time.time_ns()))

    def _toggle(self) -> None:
        # A walk that meets every place, and none soon again.
        number = self._turn * 7919 % len(self._sockets)
        place = (number % 3, number // 3)
        self._turn += 1
        sock, group = self._sockets[place], membership(GROUPS[place[1]])
        now = time.time_ns()
        if place in self._since:
            self._outcome.periods.append((place, self._since.pop(place), now))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, group)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            self._since[place] = now
            self._outcome.joins += 1


def run(mesh: MulticastMesh, folder: Path, seconds: float, warm_up: float) -> Outcome:
    """Churn for so long after a warm-up, and return what was seen."""
    outcome = Outcome()
    names = ",".join(mesh.pod(node) for node in NODES)
    kinds = ("receive", "send")
    processes = [
        subprocess.Popen([sys.executable, "-m", "bench.multicast_traffic", kind, names, str(folder / kind)])
        for kind in kinds
    ]
    try:
        time.sleep(1)
        churn = Churn(mesh, outcome)
        churn.run(warm_up)
        pids = [mesh.pid(node) for node in NODES]
        before = [processor(pid) for pid in pids]
        memory = [[resident(pid) for pid in pids]]
        outcome.joins, started = 0, time.monotonic()
        for _ in range(4):
            churn.run(seconds / 4)
            memory.append([resident(pid) for pid in pids])
        outcome.seconds = time.monotonic() - started
        outcome.core = max(
            (processor(pid) - used) / outcome.seconds for pid, used in zip(pids, before, strict=True)
        )
        largest = max(range(3), key=lambda node: memory[-1][node] - memory[0][node])
        outcome.memory = [sample[largest] for sample in memory]
        churn.end()
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
            process.wait()
            time.sleep(0.5)
    _take(outcome, folder)
    return outcome


def _take(outcome: Outcome, folder: Path) -> None:
    sent = read(folder / "send")
    for group, at in zip(sent[0::3], sent[2::3], strict=True):
        outcome.sent[group].append(at)
    got = read(folder / "receive")
    for node, group, number, at in zip(got[0::4], got[1::4], got[2::4], got[3::4], strict=True):
        outcome.got[node, group][number] = at
