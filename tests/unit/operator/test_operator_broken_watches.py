"""Watches of Leases that break at any point, in any way: every renewal is noticed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from quilt_kube.access import Access
from quilt_kube.backoff import Backoff
from quilt_operator.api.client import Client
from quilt_operator.api.leases import LeaseWatch
from tests.support.agent_doubles import eventually

# An ERROR of this code after the events, a line that nobody understands, half a line, or just the end.
ENDS = (410, 500, 504, "garbage", "half", "over")
NODES = [f"node-{number}" for number in range(12)]


class Server:
    """Leases, of which each watch but the last tells some renewals in one write and then ends."""

    def __init__(self, plan: Sequence[tuple[int, str | int]]) -> None:
        self._plan = list(plan)
        self._version = 10
        self._history: list[tuple[int, str]] = []
        self._at_the_end = 0
        self.leases = dict.fromkeys(NODES, 10)
        self.over = asyncio.Event()

    @property
    def renewed(self) -> set[str]:
        """Names of the Leases that were renewed, each once."""
        return {name for _, name in self._history}

    def list(self) -> bytes:
        items = [_lease(name, version) for name, version in self.leases.items()]
        return json.dumps({"metadata": {"resourceVersion": str(self._version)}, "items": items}).encode()

    def watch(self, since: int) -> bytes:
        count, end = self._plan.pop(0) if self._plan else (0, "")
        done = len(self._history)
        for name in NODES[done : done + count]:
            self._version += 1
            self.leases[name] = self._version
            self._history.append((self._version, name))
        lines = [
            json.dumps({"type": "MODIFIED", "object": _lease(name, version)}) + "\n"
            for version, name in self._history
            if version > since
        ]
        if isinstance(end, int):
            lines.append(json.dumps({"type": "ERROR", "object": {"code": end}}) + "\n")
        lines += {"garbage": ["}{\n"], "half": ['{"type"']}.get(str(end), [])
        self._at_the_end += not end
        if self._at_the_end > 1:  # what the first such watch reported was received
            self.over.set()
        return "".join(lines).encode()

    async def answer(self, request: web.Request) -> web.Response:
        watch = "watch" in request.query
        return web.Response(body=self.watch(int(request.query["resourceVersion"])) if watch else self.list())


def _lease(name: str, version: int) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "resourceVersion": str(version)},
        "spec": {"renewTime": f"at {version}"},
    }


async def noticed(server: Server) -> set[str]:
    """Names whose renewal a LeaseWatch reported, by the time the server has no more to tell."""
    renewed: list[str] = []
    application = web.Application()
    application.router.add_get("/{path:.*}", server.answer)
    async with TestServer(application) as served:
        client = Client(Access(str(served.make_url("")).rstrip("/")))
        client._every = 0.002
        watch = LeaseWatch(client, "leases", renewed.extend, lambda: None)
        watch._backoff = Backoff(0.001, 0.002)
        watch.start()
        async with asyncio.timeout(60):
            await server.over.wait()
        watch.stop()
        await client.close()
    return set(renewed)


@settings(max_examples=20)
@given(plan=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(ENDS)), max_size=6))
def test_no_renewal_is_lost_by_a_broken_watch(plan: list[tuple[int, str | int]]) -> None:
    """t7: However the operator's watches of Leases break, it notices every renewal."""

    async def run() -> None:
        server = Server(plan)
        assert await noticed(server) == server.renewed

    asyncio.run(run())


async def test_renewals_that_come_together_with_an_error_count() -> None:
    """t7: A renewal that one read delivers together with an ERROR counts for the operator."""
    assert await noticed(Server([(2, 500)])) == set(NODES[:2])


async def test_a_watch_that_is_begun_again_leaves_its_connection_and_lists() -> None:
    """t8: A watch that a fresh list proved wrong is not waited for, however long it would stay open."""
    asked: list[str] = []
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append("watch" if "watch" in request.query else "list")
        if asked[-1] == "list":
            return web.Response(body=Server([]).list())
        response = web.StreamResponse()
        await response.prepare(request)
        await over.wait()
        return response

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    async with TestServer(application) as served:
        client = Client(Access(str(served.make_url("")).rstrip("/")))
        watch = LeaseWatch(client, "leases", lambda _: None, lambda: None)
        watch.start()
        await eventually(lambda: asked == ["list", "watch"])
        watch.start()
        await eventually(lambda: asked == ["list", "watch"] * 2)
        watch.stop()
        over.set()
        await client.close()
