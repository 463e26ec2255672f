"""Watches that break at any point, in any way: in the end the agent knows what the API server holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_nodeagent.api import objects
from quilt_nodeagent.api.backoff import Backoff
from quilt_nodeagent.api.client import ApiError, ApiUnreachableError
from quilt_nodeagent.api.watch import Watch

NAMES = ("a", "b", "c")
# Ways in which a watch ends: an ERROR of this code among its lines, a line that nobody understands, an answer
# that is no watch, or no more than the end of the connection.
ENDS = (410, 429, 500, 504, 0, "garbage", "refused", "expired", "cut", "over")
Change = tuple[str, bool]
History = list[tuple[int, str, dict[str, Any]]]


class Server:
    """Claims whose history is told in reads of any size; each watch but the last ends as `plan` says."""

    def __init__(self, changes: Sequence[Change], plan: Sequence[tuple[int, str | int]]) -> None:
        self._changes = list(changes)
        self._plan = list(plan)
        self._history: History = []
        self._version = 10
        self.held: dict[str, int] = {}
        self.told = asyncio.Event()

    def change(self) -> None:
        """Make the next change that there is."""
        if not self._changes:
            return
        name, stays = self._changes.pop(0)
        self._version += 1
        kind = "DELETED" if not stays else "MODIFIED" if name in self.held else "ADDED"
        if stays:
            self.held[name] = self._version
        elif self.held.pop(name, None) is None:
            return
        meta = {"name": name, "resourceVersion": str(self._version)}
        self._history.append((self._version, kind, {"metadata": meta}))

    async def list(self, path: str, query: Mapping[str, str]) -> bytes:
        items = [{"metadata": {"name": n, "resourceVersion": str(v)}} for n, v in self.held.items()]
        return json.dumps({"metadata": {"resourceVersion": str(self._version)}, "items": items}).encode()

    async def follow(
        self, path: str, query: Mapping[str, str], silence: float, take: Callable[[Sequence[bytes]], None]
    ) -> None:
        since = int(query["resourceVersion"])
        size, end = self._plan.pop(0) if self._plan else (1, "")
        if end in ("refused", "expired"):
            raise ApiError(410 if end == "expired" else 403, "refused on demand")
        take(())
        self.change()
        self.change()
        lines = [
            json.dumps({"type": kind, "object": item}).encode()
            for at, kind, item in self._history
            if at > since
        ]
        lines += [b"}{"] if end == "garbage" else [_failure(end)] if isinstance(end, int) else []
        for start in range(0, len(lines), size):
            take(lines[start : start + size])
            await asyncio.sleep(0)
        if end == "cut":
            raise ApiUnreachableError("the connection is gone")
        if not end and not self._changes:
            self.told.set()
            await asyncio.Event().wait()


def _failure(code: int) -> bytes:
    return json.dumps({"type": "ERROR", "object": {"code": code, "message": "etcd has no time"}}).encode()


class Known:
    """What a watch told of claims: name -> version."""

    def __init__(self) -> None:
        self.claims: dict[str, str] = {}

    def listed(self, items: Iterable[objects.Claim]) -> None:
        self.claims = {item.metadata.name: item.metadata.resource_version for item in items}

    def changed(self, events: Sequence[tuple[str, objects.Claim]]) -> None:
        for kind, item in events:
            self.claims[item.metadata.name] = item.metadata.resource_version
            if kind == "DELETED":
                del self.claims[item.metadata.name]


async def known_in_the_end(server: Server) -> dict[str, str]:
    known = Known()
    watch = Watch(server, "/claims", objects.Claim, listed=known.listed, changed=known.changed)  # type: ignore[arg-type]  # the two calls that it makes
    watch._backoff = Backoff(0.0001, 0.0001)
    task = asyncio.create_task(watch.run())
    async with asyncio.timeout(60):
        await server.told.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return known.claims


@given(
    changes=st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=8),
    plan=st.lists(st.tuples(st.integers(1, 4), st.sampled_from(ENDS)), max_size=6),
)
def test_no_event_is_lost_by_a_broken_watch(changes: list[Change], plan: list[tuple[int, str | int]]) -> None:
    """t7: However the agent's watches break, in the end it knows what the API server holds."""

    async def run() -> tuple[dict[str, str], dict[str, int]]:
        server = Server(changes, plan)
        return await known_in_the_end(server), server.held

    known, held = asyncio.run(run())
    assert known == {name: str(version) for name, version in held.items()}


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_events_that_come_together_with_an_error_count(code: int) -> None:
    """t7: An event that one read delivers together with an ERROR counts for the agent."""
    server = Server([("a", True)], [(2, code)])
    assert await known_in_the_end(server) == {"a": "11"}
