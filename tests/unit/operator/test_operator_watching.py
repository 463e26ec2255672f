"""What kopf is given to see: lists that say where our view ends, watches without echoes of our own writes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from quilt_crds.names import QUILTNODE
from quilt_operator.api.client import Unreachable
from quilt_operator.watching import Watches
from quilt_operator.world import World

NODES = QUILTNODE.plural


def node(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def event(kind: str, name: str, version: int) -> bytes:
    return json.dumps({"type": kind, "object": node(name, version)}).encode() + b"\n"


class ApiServer:
    """QuiltNodes of an API server, and the session with which kopf would ask for them."""

    def __init__(self) -> None:
        self.stream = b""
        self.relists = 0
        self.away = False
        self.told: list[str] = []
        self.world = World("default", self.told.append, lambda: None)
        self.world.replace(NODES, [node("a", 5), node("b", 6)], 10)
        self.watches = Watches(self.world, self._relist)

    async def _relist(self, plural: str) -> None:
        if self.away:
            raise Unreachable("gone for lunch")
        self.relists += 1
        self.world.replace(plural, [node("b", 6)], 20)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch") != "true":
            return web.json_response({"metadata": {"resourceVersion": "11"}, "items": [node("a", 5)]})
        response = web.StreamResponse()
        await response.prepare(request)
        # In pieces that end anywhere.
        for start in range(0, len(self.stream), 37):
            await response.write(self.stream[start : start + 37])
        return response


class Kopf:
    """Asks as kopf does."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def list(self) -> dict[str, Any]:
        async with self._session.get(QUILTNODE.path(), params={"limit": "1"}) as response:
            found: dict[str, Any] = await response.json()
            return found

    async def watch(self) -> list[bytes]:
        async with self._session.get(QUILTNODE.path(), params={"watch": "true"}) as response:
            return [data async for data in response.content.iter_chunked(1 << 20)]


@pytest.fixture
async def server() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def kopf(server: ApiServer) -> AsyncIterator[Kopf]:
    app = web.Application()
    app.router.add_get(QUILTNODE.path(), server.answer)
    async with TestServer(app) as running:
        middlewares = (server.watches.middleware,)
        async with aiohttp.ClientSession(running.make_url("/"), middlewares=middlewares) as session:
            yield Kopf(session)


async def test_a_watch_begins_where_our_list_ended_so_that_no_deletion_falls_between(
    server: ApiServer, kopf: Kopf
) -> None:
    assert await kopf.list() == {"metadata": {"resourceVersion": "10"}, "items": []}
    assert server.relists == 0, "the list that was just read is good enough"


async def test_row_19_after_a_lost_watch_all_is_listed_and_what_went_away_is_gone(
    server: ApiServer, kopf: Kopf
) -> None:
    await kopf.list()
    assert await kopf.list() == {"metadata": {"resourceVersion": "20"}, "items": []}
    assert server.relists == 1
    assert set(server.world.nodes.items) == {"b"}


async def test_without_a_list_of_ours_kopf_gets_none_and_tries_again(server: ApiServer, kopf: Kopf) -> None:
    await kopf.list()
    server.away = True
    with pytest.raises(aiohttp.ClientConnectionError):
        await kopf.list()
    server.away = False
    assert (await kopf.list())["metadata"]["resourceVersion"] == "20"


async def test_news_enter_the_view_and_kopf_sees_what_went_away(server: ApiServer, kopf: Kopf) -> None:
    news = [event("MODIFIED", "a", 7), event("ADDED", "c", 30)]
    rest = [event("DELETED", "b", 6), event("BOOKMARK", "", 40)]
    echoes = [event("ADDED", "a", 5), event("MODIFIED", "b", 6), event("MODIFIED", "b", 4)]
    server.stream = b"".join([echoes[0], news[0], echoes[1], rest[0], news[1], echoes[2], rest[1]])
    assert await kopf.watch() == rest
    assert {name: item.version for name, item in server.world.nodes.items.items()} == {
        "a": 7,
        "b": 6,
        "c": 30,
    }
    assert set(server.told) == {"a", "b", "c"}
    assert server.watches.age(NODES) < 60


async def test_a_deletion_that_kopf_tells_late_does_not_end_the_successor(
    server: ApiServer, kopf: Kopf
) -> None:
    server.stream = event("DELETED", "a", 7) + event("ADDED", "a", 9)
    assert await kopf.watch() == [event("DELETED", "a", 7)]
    server.world.forget(NODES, "a", 7)
    assert server.world.nodes.items["a"].version == 9


async def test_what_is_not_understood_is_passed_on(server: ApiServer, kopf: Kopf) -> None:
    lines = [b'{"type":"ERROR","object":{"code":410}}\n', b"nonsense\n", b'{"type":"ADDED"}\n']
    server.stream = b"".join(lines)
    assert await kopf.watch() == lines


@pytest.mark.parametrize("code", [0, 429, 500, 504])
async def test_after_an_error_in_a_watch_all_is_listed_again(
    server: ApiServer, kopf: Kopf, code: int
) -> None:
    """t7: What came before an ERROR in kopf's watch counts, and all is listed again; kopf goes on."""
    error = {"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "etcd has no time"}}
    server.stream = event("MODIFIED", "a", 7) + json.dumps(error).encode() + b"\n"
    await kopf.list()
    (shown,) = await kopf.watch()
    assert json.loads(shown)["object"]["code"] == 410, "kopf ends for any other code"
    assert server.world.nodes.items["a"].version == 7
    await kopf.list()
    assert server.relists == 1
