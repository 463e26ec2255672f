"""What the runtime has its agent report to people, as it has no account at the API server itself.

Figures only grow, and begin with the process: who asks now and then finds out what is new.
"""

from __future__ import annotations

import threading
from collections import Counter


class Troubles:
    """What others changed and was repaired. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._repairs = Counter[str]()

    def repaired(self, kind: str, count: int) -> None:
        """Note entries that others changed or removed."""
        with self._lock:
            self._repairs[kind] += count

    def repairs(self) -> dict[str, int]:
        """Return how many entries of each kind were repaired."""
        with self._lock:
            return dict(self._repairs)
