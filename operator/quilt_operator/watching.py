"""kopf: follows the four kinds and keeps the view of the cluster up to date.

Handlers only enter what they are told and put a name into the queue. They own no object: no finalizers, no
annotations, no timers per object. Complete lists are read before kopf starts and again after each of its
gaps, because a list by kopf shows what is there but not what went away. For the same reason there is no kopf
index: it would keep what was deleted unseen, and know nothing of our own writes before their events.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import kopf
import structlog
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from quilt_crds.names import GROUP, QUILTNETWORK, QUILTNODE, QUILTSUBNET, VERSION
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


class Watches:
    """When each of kopf's watches was last heard of, and who wants to know when one began anew."""

    def __init__(self, relisted: Callable[[str], None]) -> None:
        self.heard: dict[str, float] = {}
        self._relisted = relisted
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
        known = plural in self.heard
        self.heard[plural] = time.monotonic()
        if request.url.query.get("watch") == "true":
            response.content = _Tap(response.content, self.heard, plural)  # type: ignore[assignment]
        elif known:
            log.info("watch_restarted", watch=plural)
            self._relisted(plural)
        return response


class _Tap:
    """A response's content that notes when data arrive; everything else is the content's own."""

    def __init__(self, inner: aiohttp.StreamReader, heard: dict[str, float], plural: str) -> None:
        self._inner = inner
        self._heard = heard
        self._plural = plural

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        async for data in self._inner.iter_chunked(size):
            self._heard[self._plural] = time.monotonic()
            yield data


def settings() -> kopf.OperatorSettings:
    """kopf's settings: only what is watched, nothing written, patient with an API server that is away."""
    made = kopf.OperatorSettings()
    made.scanning.disabled = True
    made.posting.enabled = False
    made.networking.request_timeout = 10
    made.networking.error_backoffs = (0.5, 1, 2, 4, *([5] * 120))
    made.watching.connect_timeout = 10
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
