"""kopf: follows the four kinds and keeps the view of the cluster up to date.

Handlers only enter what they are told and put a name into the queue. They own no object: no finalizers, no
annotations, no timers per object. What kopf lists is thrown away: a list by kopf shows what is there, but not
what went away, and it makes a task of every object. Instead each of its lists is answered with the version of
a complete list of ours and no objects, so that its watch begins exactly where our view ends. For the same
reason there is no kopf index: it would keep what was deleted unseen, and know nothing of our own writes
before their events. And news of QuiltNodes and QuiltSubnets that exist, of which thousands come when nodes
join, enter the view as they are read: kopf would make a task of each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import kopf
import msgspec
import structlog
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from quilt_crds.connections import CONNECT
from quilt_crds.names import GROUP, QUILTNETWORK, QUILTNODE, QUILTSUBNET, VERSION
from quilt_operator.api.client import ApiError, Unreachable
from quilt_operator.api.connection import Connection
from quilt_operator.world import NODES, World

log = structlog.get_logger()

PATHS = {
    QUILTNETWORK.plural: QUILTNETWORK.path(),
    NODES: "/api/v1/nodes",
    QUILTSUBNET.plural: QUILTSUBNET.path(),
    QUILTNODE.plural: QUILTNODE.path(),
}
"""Collections in the order in which they are listed: claims before the nodes that might need one."""


_MANY = {QUILTSUBNET.plural, QUILTNODE.plural}
# What the API server says of a version that is too old to go on from.
_EXPIRED = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}'
_GONE = 410
_AFTER_AN_ERROR = 0.5


class Watches:
    """Stands between kopf and the API server: answers its lists, takes the many news, notes silence."""

    def __init__(self, world: World, relist: Callable[[str], Awaitable[None]]) -> None:
        """`relist(kind)` reads a complete list into the view; raises ApiError or Unreachable."""
        self.heard: dict[str, float] = {}
        self._world = world
        self._relist = relist
        self._paths = {path: plural for plural, path in PATHS.items()}

    def age(self, plural: str) -> float:
        """Seconds since the watch last said anything; bookmarks come every minute."""
        return time.monotonic() - self.heard.get(plural, -float("inf"))

    async def middleware(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """See kopf's requests for collections go by."""
        response = await handler(request)
        plural = self._paths.get(request.url.path)
        if plural is None or response.status != 200:
            return response
        if request.url.query.get("watch") == "true":
            response.content = _Tap(response.content, self, plural)  # type: ignore[assignment]
        else:
            await self._answer(response, plural)
        self.heard[plural] = time.monotonic()
        return response

    async def _answer(self, response: ClientResponse, plural: str) -> None:
        # The first list was read before kopf began; every later one means that its watch was lost.
        if plural in self.heard:
            log.info("watch_restarted", watch=plural)
            try:
                await self._relist(plural)
            except (ApiError, Unreachable) as error:
                response.close()
                raise aiohttp.ClientConnectionError(str(error)) from error
        await response.read()
        version = str(self._world.listed[plural])

        async def empty(**_: Any) -> dict[str, Any]:
            return {"metadata": {"resourceVersion": version}, "items": []}

        response.json = empty  # type: ignore[method-assign]

    def shown(self, plural: str, line: bytes) -> bytes:
        """What kopf has to see for a line of a watch: nothing when it is entered here, or known already.

        Most are known: they are echoes of our own writes, whose answers we have. An error of any kind is
        shown as an expired version, for which all is listed again: any other makes kopf end.
        """
        try:
            head = _decode_head(line)
        except msgspec.MsgspecError:
            return line
        if head.type == "ERROR" and head.object.code != _GONE:
            log.info("watch_failed", watch=plural, code=head.object.code, message=head.object.message)
            return _EXPIRED
        meta = head.object.metadata
        if head.type not in {"ADDED", "MODIFIED"} or not meta.version.isdecimal():
            return line
        if self._world.knows(plural, meta.name, int(meta.version)):
            return b""
        if plural not in _MANY:
            return line
        self._world.observe(plural, msgspec.json.decode(line)["object"])
        return b""


class _Meta(msgspec.Struct):
    name: str = ""
    version: str = msgspec.field(default="", name="resourceVersion")


class _Object(msgspec.Struct):
    """An object, or the Status that an error comes as."""

    metadata: _Meta = msgspec.field(default_factory=_Meta)
    code: int = 0
    message: str = ""


class _Head(msgspec.Struct):
    """As much of a watch event as says what it is about."""

    type: str
    object: _Object


_decode_head = msgspec.json.Decoder(_Head).decode


class _Tap:
    """A response's content, line by line, without what is no news; everything else is the content's own."""

    def __init__(self, inner: aiohttp.StreamReader, watches: Watches, plural: str) -> None:
        self._inner = inner
        self._watches = watches
        self._plural = plural

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        rest = b""
        async for data in self._inner.iter_chunked(size):
            self._watches.heard[self._plural] = time.monotonic()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                shown = self._watches.shown(self._plural, line) if line else b""
                if shown is _EXPIRED:
                    # An API server that has only errors to tell is not asked for list after list.
                    await asyncio.sleep(_AFTER_AN_ERROR)
                if shown:
                    yield shown + b"\n"


def settings(silence: float) -> kopf.OperatorSettings:
    """kopf's settings: only what is watched, nothing written, patient with an API server that is away.

    A watch is opened anew after `silence` seconds without a word, be it a bookmark.
    """
    made = kopf.OperatorSettings()
    made.scanning.disabled = True
    made.posting.enabled = False
    # A request for a list waits for ours.
    made.networking.request_timeout = 60
    made.watching.chunk_size = 1
    made.networking.error_backoffs = (0.5, 1, 2, 4, *([5] * 120))
    made.networking.connect_timeout = made.watching.connect_timeout = CONNECT
    made.watching.inactivity_timeout = silence
    made.queueing.exit_timeout = 0.5
    # A worker task per object is kept this long after an event: shorter is less memory.
    made.queueing.idle_timeout = 1.0
    return made


def registry(world: World, connection: Connection, watches: Watches) -> kopf.OperatorRegistry:
    """Handlers for the four kinds, and the login that gives kopf a session of ours."""
    made = kopf.OperatorRegistry()

    @kopf.on.login(registry=made, errors=kopf.ErrorsMode.PERMANENT)
    async def login(**_: Any) -> kopf.AiohttpSession:
        session = connection.session(middlewares=(watches.middleware,))
        return kopf.AiohttpSession(server=connection.server, aiohttp_session=session)

    def follow(plural: str, *selector: str) -> None:
        @kopf.on.event(*selector, registry=made, id=f"follow-{plural}")
        async def observe(event: kopf.RawEvent, **_: Any) -> None:
            raw = event["object"]
            if event["type"] == "DELETED":
                meta = raw["metadata"]
                world.forget(plural, str(meta["name"]), int(meta["resourceVersion"]))
            else:
                world.observe(plural, raw)

    for plural in PATHS:
        follow(plural, *(("", "v1", plural) if plural == NODES else (GROUP, VERSION, plural)))
    return made
