"""An API server in memory that lists, watches, applies and deletes objects of any kind."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from quilt_crds.names import Resource
from quilt_kube.access import Access

Json = dict[str, Any]


class SmallApi:
    """Objects by path; `writes` are the methods and paths of changes that were asked for."""

    def __init__(self) -> None:
        self.held: dict[str, Json] = {}
        self.absent: set[str] = set()
        """Paths of collections that are not served."""
        self.writes: list[str] = []
        self.asked: list[str] = []
        self.execute: Callable[[str, list[str]], bytes] = lambda pod, command: b""
        """What a command in a container of a pod writes."""
        self._version = 10
        self._history: list[tuple[int, str, str, Json]] = []
        self._news = asyncio.Event()
        self._watching = 0

    def put(self, kind: Resource, name: str, *, namespace: str = "", **parts: Any) -> None:
        """Create or change an object, as somebody else does."""
        meta = {"name": name, "namespace": namespace, "uid": f"uid-{name}", **parts.pop("metadata", {})}
        self._put(kind.path(name, namespace=namespace), kind.document(meta, **parts))

    def drop(self, kind: Resource, name: str, *, namespace: str = "") -> None:
        """Delete an object, as somebody else does."""
        self._drop(kind.path(name, namespace=namespace))

    def of(self, kind: Resource) -> dict[str, Json]:
        """The objects of a kind, by name."""
        return {item["metadata"]["name"]: item for path, item in self.held.items() if _in(path, kind.path())}

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Access]:
        """Serve, and say where."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        async with TestServer(application) as server:
            yield Access(str(server.make_url("")).rstrip("/"))
            self._version = -1
            self._tell()

    @contextmanager
    def served_beside(self) -> Iterator[tuple[Access, Callable[..., None]]]:
        """Serve in a thread of its own; yield where, and how to call a method of this there."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        serving = self.served()

        def call(method: Callable[..., None], *arguments: Any, **named: Any) -> None:
            async def run() -> None:
                method(*arguments, **named)

            asyncio.run_coroutine_threadsafe(run(), loop).result()

        try:
            yield asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result(), call
        finally:
            asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def end_watches(self) -> None:
        """End every watch that is open; what changes from now on is not sent to it."""
        self._watching += 1
        self._tell()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.asked.append(f"{request.method} {path}")
        if path.endswith("/exec"):
            return await self._execute(request)
        if any(path.startswith(absent) for absent in self.absent):
            return web.json_response({"kind": "Status", "reason": "NotFound"}, status=404)
        if request.method == "GET" and path in self.held:
            return web.json_response(self.held[path])
        if request.method == "GET":
            return await self._watch(request) if "watch" in request.query else self._list(path)
        self.writes.append(f"{request.method} {path}")
        if request.method == "DELETE":
            for held in [held for held in self.held if held == path or _in(held, path)]:
                self._drop(held)
            return web.json_response({})
        body = await request.json()
        owner = path.removesuffix("/status")
        merged = {**self.held.get(owner, {}), **body}
        merged["metadata"] = {**self.held.get(owner, {}).get("metadata", {}), **body["metadata"]}
        return web.json_response(self._put(owner, merged))

    async def _execute(self, request: web.Request) -> web.WebSocketResponse:
        """As kubelets do: output on channel 1, how it ended on channel 3."""
        answer = web.WebSocketResponse(protocols=("v5.channel.k8s.io",))
        await answer.prepare(request)
        pod = request.path.split("/")[-2]
        written = await asyncio.to_thread(self.execute, pod, request.query.getall("command"))
        await answer.send_bytes(b"\x01" + written)
        await answer.send_bytes(b'\x03{"status":"Success"}')
        await answer.close()
        return answer

    def _list(self, path: str) -> web.Response:
        items = [item for held, item in self.held.items() if _in(held, path)]
        return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        since, mine = int(request.query["resourceVersion"]), self._watching
        with suppress(ConnectionError):
            while self._version >= 0 and mine == self._watching:
                for line in self._lines(request.path, since):
                    await answer.write(line)
                since, news = self._version, self._news
                await news.wait()
        return answer

    def _lines(self, path: str, since: int) -> Iterator[bytes]:
        for version, type_, held, item in self._history:
            if version > since and _in(held, path):
                yield json.dumps({"type": type_, "object": item}).encode() + b"\n"

    def _put(self, path: str, item: Json) -> Json:
        type_ = "MODIFIED" if path in self.held else "ADDED"
        self._version += 1
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}}
        self.held[path] = item
        self._history.append((self._version, type_, path, item))
        self._tell()
        return item

    def _drop(self, path: str) -> None:
        self._version += 1
        self._history.append((self._version, "DELETED", path, self.held.pop(path)))
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _in(path: str, collection: str) -> bool:
    """Whether an object is in a collection, that of all namespaces too."""
    root, _, plural = collection.rpartition("/")
    return path.startswith(f"{root}/") and path.split("/")[-2] == plural
