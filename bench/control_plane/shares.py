"""Who of all that run on the machine used its processors, and how much memory they have."""

from __future__ import annotations

import time
from collections.abc import Iterable

from bench.control_plane.plane import Operator, Plane
from bench.controlplane import program
from bench.result import Line
from bench.usage import processor, resident


class Shares:
    """What each used from here on; the generator is this process, its watchers included."""

    def __init__(self, plane: Plane, operator: Operator) -> None:
        cluster = plane.cluster.name
        self._others = {
            "the API server": program(cluster, "kube-apiserver"),
            "etcd": program(cluster, "etcd"),
            "the operator": operator.process.pid,
        }
        self._begin, self._before = time.monotonic(), self._used()

    def percent(self) -> dict[str, float]:
        """Each one's share of a core until now."""
        taken = time.monotonic() - self._begin
        return {who: 100 * (used - self._before[who]) / taken for who, used in self._used().items()}

    def lines(self, what: str, but: Iterable[str] = ()) -> list[Line]:
        """A line for each one's share meanwhile."""
        return [
            Line(what=f"… {who} {what}", value=share, unit="% of a core")
            for who, share in self.percent().items()
            if who not in but
        ]

    def _used(self) -> dict[str, float]:
        others = {who: processor(pid) for who, pid in self._others.items()}
        return {**others, "the generator": time.process_time()}


def memory_lines(plane: Plane, nodes: int) -> list[Line]:
    """Resident memory of API server and etcd with so many nodes."""
    programs = {"the API server's": "kube-apiserver", "etcd's": "etcd"}
    return [
        Line(
            what=f"{whose} memory with {nodes} nodes",
            value=resident(program(plane.cluster.name, name)),
            unit="MB",
        )
        for whose, name in programs.items()
    ]
