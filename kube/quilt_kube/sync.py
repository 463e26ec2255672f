"""The blocking sender, on the standard library, for commands.

Each request has a connection of its own; a Client may be shared between threads.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from threading import Event
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from quilt_kube import channels
from quilt_kube.access import Access, AccessError
from quilt_kube.decoding import convert
from quilt_kube.listwatch import FAILURES, ListWatch
from quilt_kube.proxies import authorization
from quilt_kube.request import (
    ApiError,
    Json,
    Request,
    SilentError,
    UnreachableError,
    check,
    create,
    delete,
    describe,
    document,
    read,
)

T = TypeVar("T")
# Bytes of a stream that are read at once.
_PIECE: Final = 1 << 16


def follow(
    client: Client, watch: ListWatch[Any], ended: Event, noted: Callable[[Exception | None], None]
) -> None:
    """Follow a collection until `ended`; never raises for anything that the API server does.

    `noted` gets each failure, and None whenever the API server answers again. A watch on which nothing comes
    does not notice `ended`: run it in a thread that nobody waits for.
    """
    while not ended.is_set():
        failure: Exception | None = None
        try:
            if watch.listing:
                watch.page(client.send(watch.request()))
                noted(None)
                continue
            for data in client.stream(watch.request(), watch.silence):
                if ended.is_set():
                    return
                if not data:
                    noted(None)
                watch.feed(data)
        except FAILURES as error:
            if ended.is_set():
                return
            failure = error
            noted(error)
        ended.wait(watch.ended(failure))


def _connection(access: Access, timeout: float) -> http.client.HTTPConnection:
    """Return a connection that will be made to an API server, by its proxy if there is one."""
    server, way = urlsplit(access.server), urlsplit(access.proxy or access.server)
    host, port = way.hostname or "", way.port or (443 if access.tls and not access.proxy else 80)
    if access.tls is None:
        return http.client.HTTPConnection(host, port, timeout=timeout)
    made = http.client.HTTPSConnection(host, port, timeout=timeout, context=access.tls)
    if access.proxy:
        made.set_tunnel(server.hostname or "", server.port or 443, authorization(access.proxy))
    return made


def _left(within: float, begun: float) -> float:
    """Return how many of the seconds are left. Raises TimeoutError where none are."""
    left = begun + within - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class Client:
    """One API server; `timeout` in seconds. The network causes UnreachableError and ApiError alone."""

    def __init__(self, access: Access, *, agent: str, timeout: float = 15.0) -> None:
        self.access = access
        self._agent = agent
        self._timeout = timeout

    def send(self, request: Request, *, timeout: float | None = None) -> bytes:
        """Return the body of the answer; a pause of `timeout` seconds in it is a failure."""
        with self._asked(request, timeout or self._timeout) as (_, answer):
            body = answer.read()
        self._check(answer, body)
        return body

    def stream(self, request: Request, silence: float) -> Iterator[bytes]:
        """Yield the answer in pieces as it comes, first nothing when it begins, until the server ends it.

        Raises SilentError after `silence` seconds without a byte, beside what `send` raises.
        """
        with self._asked(request, self._timeout) as (connected, answer):
            if answer.status >= 400:
                self._check(answer, answer.read())
            yield b""
            connected.settimeout(silence)
            yield from _pieces(answer, silence)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """Read an object or a list."""
        return document(self.send(read(path, query)))

    def find(self, path: str) -> Json | None:
        """Read an object or a list; None when it does not exist."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.missing:
                return None
            raise

    def items(self, path: str, query: Mapping[str, str] | None = None) -> list[Json]:
        """Read a list's objects."""
        found: list[Json] = self.get(path, query).get("items") or []
        return found

    def objects(self, path: str, kind: type[T]) -> tuple[T, ...]:
        """Read a list's objects, each as `kind`, a msgspec struct."""
        return tuple(convert(item, kind) for item in self.items(path))

    def text(self, path: str) -> str:
        """Read something that is not JSON, such as a log."""
        return self.send(read(path, accept="*/*")).decode(errors="replace")

    def execute(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        within: float | None = None,
    ) -> bytes:
        """Run a command in a container and return what it wrote.

        `within` is how many seconds it may take in all; without, a pause of `timeout` is a failure. Raises
        CommandError where it fails, beside what `send` raises.
        """
        asked = Request("GET", channels.target(namespace, pod, container, command), accept="*/*")
        streams, begun = channels.Channels(), time.monotonic()
        with self._asked(asked, within or self._timeout, channels.headers()) as (connected, answer):
            if answer.status != 101:
                check(max(answer.status, 400), answer.read(), answer.reason)
            while not streams.done and (data := answer.fp.read1(_PIECE)):
                streams.feed(data)
                if within is not None:
                    connected.settimeout(_left(within, begun))
                if streams.reply:
                    connected.sendall(streams.reply)
                    streams.reply = b""
        if failure := streams.failure():
            text = streams.err.decode(errors="replace").strip() or failure
            raise channels.CommandError(text, bytes(streams.out))
        return bytes(streams.out)

    def create(self, path: str, body: Any) -> Json:
        """Create an object in the collection at `path`; ApiError.exists when the name is taken."""
        return document(self.send(create(path, body)))

    def delete(self, path: str) -> None:
        """Delete an object and, later, what it owns; one that does not exist is fine."""
        try:
            self.send(delete(path, propagation="Background"))
        except ApiError as error:
            if not error.missing:
                raise

    @contextmanager
    def _asked(
        self, request: Request, timeout: float, more: Iterable[tuple[str, str]] = ()
    ) -> Iterator[tuple[socket.socket, http.client.HTTPResponse]]:
        """Send, with `more` headers, and yield the connection and its answer; raises UnreachableError."""
        data = request.body
        try:
            with closing(_connection(self.access, timeout)) as connection:
                connection.putrequest(request.method, self._target(request), skip_accept_encoding=True)
                for name, value in [*self._headers(request), *more]:
                    connection.putheader(name, value)
                if data is not None:
                    connection.putheader("Content-Length", str(len(data)))
                connection.endheaders(data)
                yield connection.sock, connection.getresponse()
        except (OSError, http.client.HTTPException, AccessError) as error:
            raise UnreachableError(f"{self.access.server} does not answer: {describe(error)}") from error

    def _check(self, answer: http.client.HTTPResponse, body: bytes) -> None:
        """Raise ApiError unless the answer is a success."""
        if answer.status == 401:
            self.access.credentials.refused()
        check(answer.status, body, answer.reason, answer.headers.get("Retry-After", ""))

    def _headers(self, request: Request) -> list[tuple[str, str]]:
        proxied = authorization(self.access.proxy).items() if self._plain_proxy else ()
        return [("User-Agent", self._agent), *request.headers(), *self.access.headers(), *proxied]

    @property
    def _plain_proxy(self) -> bool:
        return bool(self.access.proxy) and self.access.tls is None

    def _target(self, request: Request) -> str:
        server = self.access.server
        return (server if self._plain_proxy else urlsplit(server).path) + request.target


def _pieces(answer: http.client.HTTPResponse, silence: float) -> Iterator[bytes]:
    """Yield what is read of an answer; SilentError where nothing comes for so many seconds."""
    while True:
        try:
            data = answer.read1(_PIECE)
        except TimeoutError as error:
            raise SilentError(f"nothing came for {silence:g} s") from error
        if not data:
            return
        yield data
