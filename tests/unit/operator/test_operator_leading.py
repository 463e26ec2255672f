"""A leader and its Lease: who does not renew it any more leaves, and writes nothing meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from quilt_crds.names import QUILTNETWORK, QUILTNODE
from quilt_crds.wire import WireObject
from quilt_kube.access import Access
from quilt_kube.request import ApiError, Request, UnreachableError, create, read, replace
from quilt_operator import app, workqueue
from quilt_operator.api.client import Client
from quilt_operator.api.election import Election, Timing
from quilt_operator.leader import Leader, Options
from quilt_operator.probes import Probes

NETWORK = {
    "metadata": {"name": "default", "uid": "u", "resourceVersion": "1"},
    "spec": {"clusterCIDRs": ["10.42.0.0/16"]},
}
NODE = {
    "metadata": {"name": "n", "uid": "n", "resourceVersion": "2"},
    "spec": {"hostIP": "192.0.2.1"},
    "status": {"hostIP": "192.0.2.1"},
}


class Server:
    """An API server that accepts every write, or answers nonsense with 200."""

    def __init__(self) -> None:
        self.writes: list[str] = []
        self.nonsense = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.nonsense:
            return web.Response(text=self.nonsense)
        if request.method == "GET":
            return web.json_response({"kind": "Status", "reason": "NotFound"}, status=404)
        self.writes.append(f"{request.method} {request.path}")
        body = await request.json()
        meta = {"uid": "u", **body["metadata"], "resourceVersion": str(10 + len(self.writes))}
        return web.json_response({**body, "metadata": meta})


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, Client]]:
    made = Server()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.answer)
    async with TestServer(application) as listening:
        client = Client(Access(str(listening.make_url("")).rstrip("/")))
        yield made, client
        await client.close()


OPTIONS = Options("quilt-system", "me", "default", "", watch_silence=70.0, audit_interval=300.0)


@pytest.mark.parametrize("lease", ["renewed", "lost"])
async def test_a_leader_whose_lease_was_not_renewed_writes_nothing(
    server: tuple[Server, Client], lease: str
) -> None:
    """t9: A leader that was paused, or whose Lease is not renewed for another reason, writes nothing."""
    api, client = server
    election = Election(client, "quilt-system", "me")
    leader = Leader(client, election, OPTIONS)
    election.held_until = time.monotonic() + (10.0 if lease == "renewed" else -50.0)
    leader._world.observe(QUILTNETWORK.plural, NETWORK)
    leader._world.observe(QUILTNODE.plural, NODE)
    try:
        await leader._handlers["node"](workqueue.Request("node", "n"))
    except (ApiError, UnreachableError):
        assert lease == "lost"
    assert bool(api.writes) == (lease == "renewed"), api.writes


@pytest.mark.parametrize("text", ["", "<html>please log in</html>", "[1]", "null"])
async def test_an_answer_without_an_object_is_none(server: tuple[Server, Client], text: str) -> None:
    """t9: A 200 without a JSON object (a captive portal, a cut answer) is no answer, for whatever request."""
    api, client = server
    api.nonsense = text or " "
    asked: list[Any] = []
    for ask in (
        client.ask(read("/api/v1/x")),
        client.ask(replace("/api/v1/x", {}, "me")),
        client.ask(create("/api/v1/x", {}, "me")),
        client.list("/api/v1/x", WireObject),
    ):
        try:
            asked.append(await ask)
        except UnreachableError:
            continue
    assert not asked


class Renewals:
    """Requests of an election: after two renewals every answer is an object without anything in it."""

    def __init__(self) -> None:
        self.puts = 0

    async def find(self, path: str) -> dict[str, Any]:
        return {
            "metadata": {"name": "quilt-operator", "resourceVersion": "1"},
            "spec": {"holderIdentity": ""},
        }

    async def ask(self, request: Request) -> dict[str, Any]:
        if request.method != "PUT":
            return await self.find(request.path)
        self.puts += 1
        return dict(request.document) if self.puts < 3 else {}


class Busy:
    """A leader that works for ever."""

    def __init__(self) -> None:
        self.checks = list
        self.measure = lambda: None

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def pause(self) -> None:
        pass


async def test_when_the_renewal_of_the_lease_ends_by_an_error_the_process_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """t9: When the task that renews the leader's Lease ends, however it does, the process ends."""
    left: list[int] = []
    monkeypatch.setattr(app, "os", SimpleNamespace(_exit=left.append))
    monkeypatch.setattr(app, "_on_signals", lambda stop: None)
    election = Election(cast(Client, Renewals()), "ns", "me", Timing(duration=15, deadline=10, retry=0.01))
    await election.acquire()
    leader, probes = cast(Leader, Busy()), cast(Probes, SimpleNamespace())
    leading = asyncio.create_task(app._lead(leader, election, probes, asyncio.Event()))
    deadline = time.monotonic() + 10
    while not left and time.monotonic() < deadline:  # noqa: ASYNC110 - the exit of a process has no event
        await asyncio.sleep(0.01)
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    assert left == [1]
