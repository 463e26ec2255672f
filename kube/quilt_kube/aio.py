"""The asyncio sender, over aiohttp. It needs the `agent` or `operator` extra.

An API server can disappear in two ways that no client is notified of. One whose machine lost power sends
neither FIN nor RST: only TCP itself can notice, by probes that nobody answers (tcp(7)). One whose process
hangs has a kernel that answers them: there the missing bookmark shows it (`listwatch.SILENCE`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, Self

import aiohttp

from quilt_kube.access import Access, AccessError
from quilt_kube.listwatch import FAILURES, ListWatch
from quilt_kube.request import (
    ApiError,
    Json,
    Request,
    SilentError,
    UnreachableError,
    check,
    describe,
    document,
    read,
)

# Seconds.
CONNECT: Final = 5.0
"""A working server accepts a connection within this time; the next attempt may be led to another one."""
_FIRST_PROBE = 6
_PROBES_EVERY = 3
# By then unanswered probes, or data that nobody acknowledged, end a connection.
_GIVEN_UP_AFTER = 15


async def follow(client: Client, watch: ListWatch[Any]) -> NoReturn:
    """Follow a collection until cancelled; never raises for anything that the API server does."""
    while True:
        failure: Exception | None = None
        try:
            if watch.listing:
                watch.page(await client.send(watch.request(), long=True))
                continue
            await client.stream(watch.request(), watch.silence, watch.feed)
        except FAILURES as error:
            failure = error
        await asyncio.sleep(watch.ended(failure))


def connector(access: Access, **settings: Any) -> aiohttp.TCPConnector:
    """Return a pool of connections to an API server, of which none outlives the other end for long."""
    # The address is a Service or a name that may move: no DNS answer is kept for long.
    return aiohttp.TCPConnector(
        ssl=access.tls or True, ttl_dns_cache=10, socket_factory=_open_socket, **settings
    )


def _open_socket(address: tuple[Any, ...]) -> socket.socket:
    """Make a socket for an address as getaddrinfo gives it."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, _FIRST_PROBE),
        (socket.TCP_KEEPINTVL, _PROBES_EVERY),
        (socket.TCP_USER_TIMEOUT, _GIVEN_UP_AFTER * 1000),
    ):
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


class Client:
    """One API server; an async context manager. `timeout` in seconds.

    All that the network can cause is UnreachableError or ApiError. With `every` a stream is read at such
    distances in seconds, for of many events each costs less together.
    """

    def __init__(self, access: Access, *, agent: str, timeout: float = 10.0, every: float = 0.0) -> None:
        self.access = access
        self._agent = agent
        self._timeout = timeout
        self._every = every
        self._long: dict[str, float] = {"sock_read": timeout}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=connector(self.access, limit=0))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, request: Request, *, long: bool = False) -> bytes:
        """Return the body of the answer; a `long` one may take any time without pauses."""
        limits = self._long if long else {"total": self._timeout}
        async with self._answer(request, **limits) as answer:
            return bytes(await answer.read())

    async def ask(self, request: Request) -> Json:
        """Return the object that answers a request."""
        return document(await self.send(request))

    async def find(self, path: str) -> Json | None:
        """Return the object (or list) at `path`, or None when it does not exist."""
        try:
            return await self.ask(read(path))
        except ApiError as error:
            if error.missing:
                return None
            raise

    async def stream(self, request: Request, silence: float, feed: Callable[[bytes], None]) -> None:
        """Pass the answer on as it comes, first nothing when it begins; return when the server ends it.

        Raises SilentError after `silence` seconds without a byte, and whatever `feed` raises.
        """
        async with self._answer(request, self._timeout, sock_read=silence) as answer:
            feed(b"")
            try:
                async for data in answer.content.iter_any():
                    feed(data)
                    if self._every:
                        await _leave_unread(answer, self._every)
            except TimeoutError as error:
                raise SilentError(f"nothing came for {silence:g} s") from error

    @asynccontextmanager
    async def _answer(
        self, request: Request, begins: float | None = None, **limits: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send, and read the head, which comes within `begins` seconds; a refusal is an ApiError."""
        try:
            async with (
                asyncio.timeout(begins) as beginning,
                await self._open(request, aiohttp.ClientTimeout(sock_connect=CONNECT, **limits)) as answer,
            ):
                if answer.status == 401:
                    self.access.credentials.refused()
                if answer.status >= 400:
                    wait = answer.headers.get("Retry-After", "")
                    check(answer.status, await answer.read(), answer.reason or "", wait)
                beginning.reschedule(None)
                yield answer
        except (aiohttp.ClientError, OSError, AccessError) as error:
            where = f"{request.method} {self.access.server}{request.path}"
            raise UnreachableError(f"{where}: {describe(error)}") from error

    async def _open(self, request: Request, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("use Client as an async context manager")
        return await self._session.request(
            request.method,
            self.access.server + request.target,
            data=request.body,
            headers=self._headers(request),
            proxy=self.access.proxy or None,
            timeout=limits,
        )

    def _headers(self, request: Request) -> list[tuple[str, str]]:
        return [*request.headers(), ("User-Agent", self._agent), *self.access.headers()]


async def _leave_unread(answer: aiohttp.ClientResponse, seconds: float) -> None:
    """Let what comes pile up in the kernel: to be woken for an event costs ten times what it does by then."""
    transport: Any = answer.connection and answer.connection.transport
    if transport is not None:
        if hasattr(transport, "set_read_buffer_limits"):  # TLS would read on, into a buffer of its own
            transport.set_read_buffer_limits(high=1, low=0)
        transport.pause_reading()
    await asyncio.sleep(seconds)
    if transport is not None:
        transport.resume_reading()


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
