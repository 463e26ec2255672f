"""The asyncio sender, over aiohttp. It needs the `agent` or `operator` extra."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

import aiohttp

from quilt_kube.access import Access, AccessError
from quilt_kube.connections import CONNECT, open_socket
from quilt_kube.listwatch import FAILURES, ListWatch
from quilt_kube.request import Request, SilentError, UnreachableError, check, describe


class Sender(Protocol):
    """What following a collection needs; all that the network can cause is UnreachableError or ApiError."""

    async def send(self, request: Request, *, long: bool = False) -> bytes:
        """Return the body of the answer; a `long` one may take any time without pauses."""
        ...

    async def stream(self, request: Request, silence: float, feed: Callable[[bytes], None]) -> None:
        """Pass the answer on as it comes, first nothing when it begins; return when the server ends it.

        Raises SilentError after `silence` seconds without a byte, and whatever `feed` raises.
        """
        ...


async def follow(sender: Sender, watch: ListWatch[Any]) -> NoReturn:
    """Follow a collection until cancelled; never raises for anything that the API server does."""
    while True:
        failure: Exception | None = None
        try:
            if watch.listing:
                watch.page(await sender.send(watch.request(), long=True))
                continue
            await sender.stream(watch.request(), watch.silence, watch.feed)
        except FAILURES as error:
            failure = error
        await asyncio.sleep(watch.ended(failure))


class Client:
    """A Sender for one API server; an async context manager. `timeout` in seconds."""

    def __init__(self, access: Access, *, agent: str, timeout: float = 10.0) -> None:
        self.access = access
        self._agent = agent
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # The API server address is a Service or a name that may move: no DNS answer is kept for long.
        connector = aiohttp.TCPConnector(
            ssl=self.access.tls or True, limit=0, ttl_dns_cache=10, socket_factory=open_socket
        )
        self._session = aiohttp.ClientSession(connector=connector, headers={"User-Agent": self._agent})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, request: Request, *, long: bool = False) -> bytes:
        """Return the body of the answer; a `long` one may take any time without pauses."""
        limits = {"sock_read": self._timeout} if long else {"total": self._timeout}
        try:
            async with self._open(request, limits) as answer:
                body = bytes(await answer.read())
        except (aiohttp.ClientError, OSError, AccessError) as error:
            raise UnreachableError(describe(error)) from error
        self._check(answer, body)
        return body

    async def stream(self, request: Request, silence: float, feed: Callable[[bytes], None]) -> None:
        """Pass the answer on as it comes, first nothing when it begins; return when the server ends it."""
        begun = False
        try:
            async with (
                asyncio.timeout(self._timeout) as beginning,
                self._open(request, {"sock_read": silence}) as answer,
            ):
                if answer.status >= 400:
                    self._check(answer, await answer.read())
                beginning.reschedule(None)
                begun = True
                feed(b"")
                async for data in answer.content.iter_any():
                    feed(data)
        except TimeoutError as error:
            if begun:
                raise SilentError(f"nothing came for {silence:g} s") from error
            raise UnreachableError(describe(error)) from error
        except (aiohttp.ClientError, OSError, AccessError) as error:
            raise UnreachableError(describe(error)) from error

    def _open(self, request: Request, limits: dict[str, float]) -> Any:
        if self._session is None:
            raise RuntimeError("use Client as an async context manager")
        return self._session.request(
            request.method,
            self.access.server + request.target,
            data=request.body,
            headers=[*request.headers(), *self.access.headers()],
            proxy=self.access.proxy or None,
            timeout=aiohttp.ClientTimeout(sock_connect=CONNECT, **limits),
        )

    def _check(self, answer: aiohttp.ClientResponse, body: bytes) -> None:
        if answer.status == 401:
            self.access.credentials.refused()
        check(answer.status, body, answer.reason or "", answer.headers.get("Retry-After", ""))


async def wait(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait until the event is set, at most `seconds` (None: without limit); return whether it is set.

    asyncio.wait_for of Python 3.11 drops a cancellation that arrives together with the event (CPython
    gh-86296), and then a process that was asked to stop does not; asyncio.timeout has no such hole.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
