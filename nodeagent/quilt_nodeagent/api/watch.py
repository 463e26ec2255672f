"""Following a collection: one list, then a watch that survives everything short of a relist.

A watch that ends or breaks goes on from the last resourceVersion (bookmarks keep that fresh), so a restarted
API server costs no list. Only 410 Gone, or an event that cannot be read, starts again with a list.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog

from quilt_crds.connections import SILENCE
from quilt_nodeagent.api.backoff import Backoff
from quilt_nodeagent.api.client import ApiClient, ApiError, ApiSilentError, ApiUnreachableError
from quilt_nodeagent.api.objects import Meta


class _Identified(Protocol):
    metadata: Meta


T = TypeVar("T", bound=_Identified)
log = structlog.get_logger()


class _Any(msgspec.Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)


class _List(msgspec.Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)
    items: list[msgspec.Raw] = msgspec.field(default_factory=list)


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Failure(msgspec.Struct):
    code: int = 0
    message: str = ""


class _ExpiredError(Exception):
    """The version to go on from is too old: only a new list helps."""


class Watch(Generic[T]):
    """Keeps somebody told of the objects at `path`, each decoded as `kind`.

    `listed` gets every complete list, `changed` the events of one read together, as (type, object) with type
    ADDED, MODIFIED or DELETED. Both are called on the event loop and must not block.
    """

    def __init__(
        self,
        client: ApiClient,
        path: str,
        kind: type[T],
        *,
        listed: Callable[[Iterable[T]], None],
        changed: Callable[[Sequence[tuple[str, T]]], None],
        field_selector: str = "",
    ) -> None:
        self.name = path.rsplit("/", 1)[-1]
        self._client = client
        self._path = path
        self._listed = listed
        self._changed = changed
        self._query = {"fieldSelector": field_selector} if field_selector else {}
        self._object = msgspec.json.Decoder(kind)
        self._list = msgspec.json.Decoder(_List)
        self._event = msgspec.json.Decoder(_Event)
        self._meta = msgspec.json.Decoder(_Any)
        self._version = ""
        self._heard = time.monotonic()
        self._connected = False
        self._backoff = Backoff()

    @property
    def age(self) -> float:
        """Seconds since the API server last said something here."""
        return time.monotonic() - self._heard

    @property
    def connected(self) -> bool:
        """Whether the last contact with the API server went well."""
        return self._connected

    async def run(self) -> None:
        """Follow for ever; never raises for anything that the API server does."""
        while True:
            try:
                if not self._version:
                    await self._relist()
                await self._follow()
            except _ExpiredError:
                self._version = ""
                log.info("api_watch_expired", watch=self.name)
            except ApiSilentError as error:
                # An API server that just started has no bookmarks for what never changes: no reason to worry
                # anybody. If it is one that hangs, the next attempt will tell.
                log.debug("api_watch_silent", watch=self.name, error=str(error))
            except (ApiUnreachableError, ApiError, msgspec.MsgspecError) as error:
                if not _passing(error):
                    self._version = ""
                self._lost(error)
                await asyncio.sleep(self._backoff.delay())

    async def _relist(self) -> None:
        body = await self._client.list(self._path, self._query)
        page = self._list.decode(body)
        self._version = page.metadata.resource_version
        self._alive()
        # One by one: thousands of decoded objects at once would leave holes in memory for ever.
        self._listed(self._object.decode(item) for item in page.items)

    async def _follow(self) -> None:
        query = {
            **self._query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            # Spread over minutes, so that a restarted API server's watches do not all end at once again.
            "timeoutSeconds": str(random.randint(300, 600)),  # noqa: S311
        }
        try:
            await self._client.follow(self._path, query, SILENCE, self._take)
        except ApiError as error:
            if error.status == 410:
                raise _ExpiredError from error
            raise

    def _take(self, lines: Sequence[bytes]) -> None:
        self._alive()
        events: list[tuple[str, T]] = []
        try:
            for line in filter(None, lines):
                self._read(line, events)
        finally:
            # What came before a failure counts: the watch goes on behind it.
            if events:
                self._changed(events)

    def _read(self, line: bytes, events: list[tuple[str, T]]) -> None:
        event = self._event.decode(line)
        if event.type == "ERROR":
            failure = msgspec.json.decode(event.object, type=_Failure)
            if failure.code == 410:
                raise _ExpiredError
            raise ApiError(failure.code, failure.message)
        if event.type == "BOOKMARK":
            self._version = self._meta.decode(event.object).metadata.resource_version or self._version
            return
        item = self._object.decode(event.object)
        self._version = item.metadata.resource_version or self._version
        events.append((event.type, item))

    def _alive(self) -> None:
        self._heard = time.monotonic()
        self._backoff.reset()
        if not self._connected:
            self._connected = True
            log.info("api_watch_connected", watch=self.name)

    def _lost(self, error: Exception) -> None:
        if self._connected:
            self._connected = False
            log.warning("api_watch_lost", watch=self.name, error=str(error), keeps="kernel state as it is")


def _passing(error: Exception) -> bool:
    """Whether the version is still good: an overloaded or restarting server must not be asked for lists."""
    return isinstance(error, ApiUnreachableError) or (
        isinstance(error, ApiError) and error.status in (401, 403, 429, 500, 502, 503)
    )
