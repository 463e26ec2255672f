"""What the runtime has its agent report to people, as it has no account at the API server itself.

Figures only grow, and begin with the process: who asks now and then finds out what is new.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from quilt_policy.program import PodName

STRIKES = 3
"""Refusals of ADD for one pod in a row that are worth a word: one or two pass, as the engine tries again."""
REMEMBERED = 1000
"""Pods whose refusals are counted: more than a node has."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Of one kind of failure: how many, and for which pod the last one and why."""

    kind: str
    count: int
    pod: PodName
    reason: str


class Troubles:
    """What others changed and was repaired, and pods that get no network. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._repairs = Counter[str]()
        self._strikes: dict[PodName, int] = {}
        self._refusals: dict[str, Refusals] = {}

    def repaired(self, kind: str, count: int) -> None:
        """Note entries that others changed or removed."""
        with self._lock:
            self._repairs[kind] += count

    def refused(self, pod: PodName, kind: str, reason: str) -> None:
        """Note that ADD was refused for a pod; of `kind` there are few."""
        with self._lock:
            strikes = self._strikes.pop(pod, 0) + 1
            self._strikes[pod] = strikes
            if len(self._strikes) > REMEMBERED:
                del self._strikes[next(iter(self._strikes))]
            if strikes >= STRIKES:
                before = self._refusals.get(kind)
                self._refusals[kind] = Refusals(kind, before.count + 1 if before else 1, pod, reason)

    def connected(self, pod: PodName) -> None:
        """Note that a pod has its network."""
        with self._lock:
            self._strikes.pop(pod, None)

    def repairs(self) -> dict[str, int]:
        """Return how many entries of each kind were repaired."""
        with self._lock:
            return dict(self._repairs)

    def refusals(self) -> list[Refusals]:
        """Return which pods are refused again and again, by kind of failure."""
        with self._lock:
            return list(self._refusals.values())
