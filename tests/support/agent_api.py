"""A stand-in for the API server, over real HTTP, with faults on demand."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

Json = dict[str, Any]
GROUP = "/apis/quilt.io/v1alpha1"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/quilt-node-lease/leases"


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the timeout is the test's, not a promise."""
    async with asyncio.timeout(60.0 * float(os.environ.get("QUILT_TEST_PATIENCE", "1"))):
        while not condition():  # noqa: ASYNC110  kernel state has no event that covers every condition
            await asyncio.sleep(0.002)


class Backup(NamedTuple):
    """What an API server had: its resourceVersion, and objects by collection and name."""

    version: int
    objects: dict[str, dict[str, Json]]


class FakeApi:
    """An API server of a few collections. `refuse` answers everything with that status while it is set.

    `undeclared` is a field of a status that its CRD does not have; `kinds` are collections that are served
    while nothing is in them, beside those of our own group.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Json]] = {}
        self.kinds: set[str] = set()
        self.requests: list[tuple[str, str]] = []
        self.refuse = 0
        self.undeclared = ""
        self.oldest = 0
        self._version = 1
        self._log: list[tuple[int, str, str, Json]] = []
        self._changed = asyncio.Condition()
        self._watches: set[asyncio.Task[Any]] = set()
        self._frozen: set[asyncio.Task[Any]] = set()

    def put(self, collection: str, item: Json) -> Json:
        """Create or replace an object, telling watches."""
        name = _key(collection, item)
        kind = "MODIFIED" if name in self.objects.setdefault(collection, {}) else "ADDED"
        self._version += 1
        item = {
            **item,
            "metadata": {
                "uid": f"uid-{item['metadata']['name']}",
                **item["metadata"],
                "resourceVersion": str(self._version),
            },
        }
        self.objects[collection][name] = item
        self._tell(kind, collection, item)
        return item

    def delete(self, collection: str, name: str) -> None:
        """Delete an object, telling watches."""
        self._version += 1
        item = self.objects[collection].pop(name)
        self._tell(
            "DELETED",
            collection,
            {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}},
        )

    def claim(self, cidr: str, node: str, host_ip: str, phase: str = "Up") -> None:
        """Publish a QuiltSubnet."""
        name = cidr.replace("/", "-").replace(":", "-")
        spec = {"cidr": cidr, "network": "default", "node": node}
        self.put(
            f"{GROUP}/quiltsubnets",
            {"metadata": {"name": name}, "spec": spec, "mesh": {"phase": phase, "hostIP": host_ip}},
        )

    def unclaim(self, cidr: str) -> None:
        """Release a QuiltSubnet and delete it, as the operator does."""
        collection, name = f"{GROUP}/quiltsubnets", cidr.replace("/", "-").replace(":", "-")
        held = self.objects[collection][name]
        self.put(collection, {**held, "mesh": {**held["mesh"], "phase": "Releasing"}})
        self.delete(collection, name)

    def count(self, method: str, part: str) -> int:
        """How many requests of a method had `part` in their path and query."""
        return sum(1 for verb, url in self.requests if verb == method and part in url)

    def cut(self) -> None:
        """Cut every watch's connection."""
        for task in self._watches:
            task.cancel()

    def save(self) -> Backup:
        """Return all that is there, for `restore`."""
        return Backup(self._version, {kind: dict(held) for kind, held in self.objects.items()})

    def restore(self, backup: Backup) -> None:
        """Come back, on new connections, with what was there then and nothing of what happened since."""
        self._version = backup.version
        self.objects = {kind: dict(held) for kind, held in backup.objects.items()}
        self._log = [entry for entry in self._log if entry[0] <= backup.version]
        self.cut()

    def freeze(self) -> None:
        """Let the watches that are open say nothing any more, as those of an API server that hangs."""
        self._frozen |= self._watches

    def expire(self) -> None:
        """Forget the history: a watch from an old version is answered with 410."""
        self.oldest = self._version + 1
        self._version += 1

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Listen on loopback, by default on any port; gives the URL."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            self.cut()
            await runner.cleanup()

    def _tell(self, kind: str, collection: str, item: Json) -> None:
        self._log.append((self._version, kind, collection, item))

        async def notify() -> None:
            async with self._changed:
                self._changed.notify_all()

        task = asyncio.get_running_loop().create_task(notify())
        task.add_done_callback(lambda _: None)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, str(request.rel_url)))
        if self.refuse:
            return _status(self.refuse, "refused on demand")
        if request.query.get("watch"):
            return await self._watch(request)
        answer: web.Response = await getattr(self, f"_{request.method.lower()}")(request)
        return answer

    async def _get(self, request: web.Request) -> web.Response:
        path, namespace = _collection(request.path)
        if path in self.objects or path in self.kinds or (path.startswith(GROUP) and path.count("/") == 4):
            items = [item for item in self.objects.get(path, {}).values() if _selects(request, item)]
            return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})
        collection, _, name = path.rpartition("/")
        key = f"{namespace}/{name}" if namespace else name
        if key in self.objects.get(collection, {}):
            return web.json_response(self.objects[collection][key])
        return _status(404, f"{name} not found")

    async def _post(self, request: web.Request) -> web.Response:
        item = await request.json()
        if item["metadata"]["name"] in self.objects.get(request.path, {}):
            return _status(409, "already exists", "AlreadyExists")
        return web.json_response(self.put(request.path, item), status=201)

    async def _put(self, request: web.Request) -> web.Response:
        collection, _, name = request.path.rpartition("/")
        item, held = await request.json(), self.objects.get(collection, {}).get(name)
        if held is None:
            return _status(404, f"{name} not found")
        if item["metadata"].get("resourceVersion") != held["metadata"]["resourceVersion"]:
            return _status(409, "the object has been modified")
        return web.json_response(self.put(collection, item))

    async def _patch(self, request: web.Request) -> web.Response:
        collection, _, name = request.path.removesuffix("/status").rpartition("/")
        sent, held = await request.json(), self.objects.get(collection, {}).get(name)
        if not request.path.endswith("/status"):  # by server-side apply, which creates too
            return web.json_response(self.put(collection, sent))
        status = sent["status"]
        if held is None:
            return _status(404, f"{name} not found")
        if self.undeclared in status:
            return _status(500, f".status.{self.undeclared}: field not declared in schema")
        return web.json_response(
            self.put(collection, {**held, "status": {**held.get("status", {}), **status}})
        )

    def _later(self, version: int) -> bool:
        return self._version > version

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        version = int(request.query["resourceVersion"])
        if version < self.oldest:
            return _status(410, "too old resource version")
        response = web.StreamResponse()
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self._watches.add(task)
        try:
            while True:
                for at, kind, collection, item in [entry for entry in self._log if entry[0] > version]:
                    version = at
                    if collection == request.path and _selects(request, item):
                        await response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")
                async with self._changed:
                    await self._changed.wait_for(partial(self._later, version))
                if task in self._frozen:
                    await asyncio.Event().wait()
        finally:
            self._watches.discard(task)


def _status(code: int, message: str, reason: str = "") -> web.Response:
    status = {"kind": "Status", "code": code, "message": message, "reason": reason}
    return web.json_response(status, status=code)


def _key(collection: str, item: Json) -> str:
    """How an object is held in a collection: in one of all namespaces by namespace and name."""
    name: str = item["metadata"]["name"]
    namespace = item["metadata"].get("namespace", "")
    return f"{namespace}/{name}" if namespace and "/namespaces/" not in collection else name


def _collection(path: str) -> tuple[str, str]:
    """Return a path without the namespace, and the namespace; Leases are held as they are asked for."""
    before, _, rest = path.partition("/namespaces/")
    namespace, _, within = rest.partition("/")
    return (f"{before}/{within}", namespace) if within and not path.startswith(LEASES) else (path, "")


def _selects(request: web.Request, item: Json) -> bool:
    """Whether a list or watch asks for an object, by its namespace, one field or one label."""
    namespace = _collection(request.path)[1]
    if namespace and item["metadata"].get("namespace") != namespace:
        return False
    field, _, value = request.query.get("fieldSelector", "").partition("=")
    fields = {
        "metadata.name": item["metadata"]["name"],
        "spec.nodeName": item.get("spec", {}).get("nodeName"),
    }
    label, _, values = request.query.get("labelSelector", "").partition(" in ")
    labels = item["metadata"].get("labels", {})
    return fields.get(field, value) == value and (
        not label or labels.get(label) in values.strip("()").split(",")
    )
