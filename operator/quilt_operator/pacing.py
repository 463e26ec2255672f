"""When to say something about a node that has just got its subnet: soon, but after others' subnets.

Peers live on claims, the status is for people. A node's first words are held back for a moment, in which its
agent usually reports that it is in sync: one write instead of two. And while thousands join, such words are
let through at a rate at which the API server has time for claims.
"""

from __future__ import annotations

import time

_MOMENT = 0.5
_PER_SECOND = 50.0
# While so many wait, the API server is busy with joins, and every status of others would prolong them.
_MANY = 60
_WHILE_MANY = 20.0


class FirstWords:
    """Gives each new node a time of its own."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def hold(self, node: str) -> None:
        """The node has got a subnet just now."""
        waiting = len(self._due)
        moment = _MOMENT if waiting < _MANY else _WHILE_MANY
        self._due[node] = time.monotonic() + moment + waiting / _PER_SECOND

    def wait(self, node: str) -> float:
        """Seconds until the node's status may be written: 0 when it is time, or was all along."""
        left = self._due.get(node, 0.0) - time.monotonic()
        if left <= 0:
            self._due.pop(node, None)
            return 0.0
        return left

    def forget(self, node: str) -> None:
        """The node is gone."""
        self._due.pop(node, None)
