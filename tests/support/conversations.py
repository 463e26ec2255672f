"""Conversations of traffic pods that continue while something happens: which stop, what is lost of others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.mesh import Mesh, Pod, until

RATE = 100
"""Messages a second."""
# Messages without an answer after which a conversation counts as stopped, answers after which it continues.
ENOUGH = 50
# Seconds. A cut TCP connection is tried again after up to as long as it was cut.
PATIENCE = 120.0


@dataclass(frozen=True)
class Line:
    """A conversation of a pod with an address, by `tcp`, `udp` or `dial` (traffic.py)."""

    pod: Pod
    way: str
    peer: str

    @property
    def name(self) -> str:
        return f"{self.way}-{self.peer}"


@dataclass(frozen=True)
class Report:
    """What was sent, which messages did not come back, when the last one did, what failed."""

    sent: int
    missing: list[int]
    last: float
    error: str

    @property
    def answered(self) -> int:
        return self.sent - len(self.missing)


class Conversations:
    """Several at once; each method awaits what it says of some of them."""

    def __init__(self, mesh: Mesh, lines: Sequence[Line]) -> None:
        self._mesh = mesh
        self._lines = lines

    def begin(self) -> None:
        for line in self._lines:
            query = f"name={line.name}&way={line.way}&peer={line.peer}&rate={RATE}"
            self._mesh.control(line.pod, "POST", f"/converse?{query}")

    def hush(self) -> None:
        for pod in {line.pod for line in self._lines}:
            self._mesh.control(pod, "POST", "/hush")

    def reports(self) -> dict[Line, Report]:
        pods = {line.pod for line in self._lines}
        found = {pod: json.loads(self._mesh.control(pod, "GET", "/conversations")) for pod in pods}
        return {line: Report(**found[line.pod][line.name]) for line in self._lines}

    def continue_(self, lines: Sequence[Line]) -> None:
        """Each gets answers from now on."""
        before = self.reports()

        def continued() -> bool:
            now = self.reports()
            return all(now[line].answered >= before[line].answered + ENOUGH for line in lines)

        self._until("they continue", continued)

    def stop(self, lines: Sequence[Line]) -> dict[Line, Report]:
        """Each sends in vain from some moment on; what was reported of it then."""
        before = self.reports()
        stopped: dict[Line, Report] = {}

        def all_stopped() -> bool:
            now = self.reports()
            for line in lines:
                if now[line].answered > before[line].answered:
                    before[line] = now[line]
                    stopped.pop(line, None)
                elif now[line].sent >= before[line].sent + ENOUGH:
                    stopped[line] = now[line]
            return len(stopped) == len(lines)

        self._until("they stop", all_stopped)
        return stopped

    def complete(self, lines: Sequence[Line]) -> None:
        """Every message of these came back, after all were hushed."""
        self.hush()

        def returned() -> bool:
            now = self.reports()
            return not any(now[line].missing or now[line].error for line in lines)

        self._until("every message came back", returned, timeout=10)

    def _until(self, what: str, check: Callable[[], bool], timeout: float = PATIENCE) -> None:
        try:
            until(what, check, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.reports()}") from None


@contextmanager
def conversing(mesh: Mesh, lines: Sequence[Line]) -> Iterator[Conversations]:
    """Conversations that are under way when this begins, and end with it."""
    conversations = Conversations(mesh, lines)
    conversations.begin()
    try:
        conversations.continue_(lines)
        yield conversations
    finally:
        conversations.hush()
