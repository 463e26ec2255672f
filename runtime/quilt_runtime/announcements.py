"""Which pods the agent announced: what it enforces, and who waits to be in it.

A pod's ADD is not answered before it is known what holds for the pod, even where nothing does. So a pod is
late, never open; and where nobody can say, the container engine tries again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from quilt_policy.program import PodName, Program
from quilt_runtime.core import policysets
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.ipam import Owner
from quilt_runtime.podfeed import PodFeed

WAIT_S = 8.0
MOST_WAITING = 4
"""ADDs that wait at the same time, each in a thread of its own."""


class UnannouncedError(RequestError):
    """A pod of which it is not known what holds for it."""

    retryable = True


class Announcements:
    """The program of now, None where none was sent. Safe to use from any thread."""

    def __init__(self, feed: PodFeed, is_on: Callable[[], bool]) -> None:
        self._feed = feed
        self._is_on = is_on
        self._changed = threading.Condition()
        self._waiting = 0
        self.program: Program | None = None

    def set(self, program: Program | None) -> None:
        """Take a program for the one of now, and let those continue that waited for it."""
        with self._changed:
            self.program = program
            self._changed.notify_all()

    def is_known(self, pod: PodName | None) -> bool:
        """Whether it is known what holds for a pod; nothing does where policies are off, and for no pod."""
        if pod is None or not self._is_on():
            return True
        program = self.program
        return program is not None and policysets.profile(program.pods, pod) is not None

    def wait(self, owner: Owner, pod: PodName | None) -> None:
        """Return when it is known what holds for a pod; raises UnannouncedError after WAIT_S at the latest.

        At once where too many wait.
        """
        if pod is None or self.is_known(pod):
            return
        who = f"It is not known yet which policies hold for pod {pod.namespace}/{pod.name}"
        with self._changed:
            if self._waiting >= MOST_WAITING:
                raise UnannouncedError(f"{who}, and {MOST_WAITING} pods wait already; it is tried again")
            self._waiting += 1
        try:
            with self._feed.waiting(owner, pod), self._changed:
                if not self._changed.wait_for(lambda: self.is_known(pod), WAIT_S):
                    why = "where that lasts, look at quilt-agent on this node"
                    raise UnannouncedError(f"{who} after {WAIT_S:g} s; it is tried again: {why}")
        finally:
            with self._changed:
                self._waiting -= 1
