"""What keeps multicast from being right now, reported once, and when it is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from quilt_kube.backoff import Backoff
from quilt_log import log
from quilt_multicast.metrics import MulticastMetrics


class Trouble:
    """`retry()` is called after a while; `problem` is a sentence, empty where all is well."""

    def __init__(self, retry: Callable[[], None], metrics: MulticastMetrics) -> None:
        self._retry = retry
        self._metrics = metrics
        self._backoff = Backoff(0.1, 5.0)
        self._waits = ""
        self.problem = ""

    def failed(self, text: str, count: int = 1) -> None:
        """Something was refused, so many times."""
        self._metrics.failures.inc(count)
        if text != self.problem:
            self.problem = text
            log.warning("multicast_problem", error=text, failed=count)
        self._again()

    def waits(self, reason: str) -> None:
        """A device is being made: its own notification brings us back, the clock is there in case."""
        if reason != self._waits:
            self._waits = reason
            log.info("multicast_waits", reason=reason)
        self._again()

    def over(self) -> None:
        """All is well."""
        self._backoff.reset()
        self._waits = ""
        if self.problem:
            self.problem = ""
            log.info("multicast_problem_gone")

    def _again(self) -> None:
        asyncio.get_running_loop().call_later(self._backoff.delay(), self._retry)
