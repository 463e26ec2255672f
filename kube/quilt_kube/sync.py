"""The blocking sender, on the standard library: for commands, and for a thread that follows a collection.

Each request has a connection of its own; a Client may be shared between threads.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

from quilt_kube.access import Access, AccessError
from quilt_kube.connections import CONNECT, notice_loss
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

# Bytes.
_READ = 256 << 10
_LONGEST_HEAD = 64 << 10

Stop = Callable[[], bool]


class _Connection(http.client.HTTPConnection):
    """A connection to an API server, by its proxy if there is one; `connect` includes TLS."""

    def __init__(self, access: Access, timeout: float) -> None:
        server, proxy = urlsplit(access.server), urlsplit(access.proxy)
        self.server = server.netloc
        self._tls = access.tls
        self._name = server.hostname or ""
        port = server.port or (443 if access.tls else 80)
        if access.proxy:
            super().__init__(proxy.hostname or "", proxy.port or 80, timeout=timeout)
        else:
            super().__init__(self._name, port, timeout=timeout)
        if access.proxy and access.tls:
            self.set_tunnel(self._name, port, authorization(access.proxy))

    def connect(self) -> None:
        super().connect()
        notice_loss(self.sock)
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


class Client:
    """One API server; `timeout` in seconds. The network causes UnreachableError and ApiError alone."""

    def __init__(self, access: Access, *, agent: str, timeout: float = 15.0) -> None:
        self.access = access
        self._agent = agent
        self._timeout = timeout

    def send(self, request: Request, *, timeout: float | None = None) -> bytes:
        """Return the body of the answer; a pause of `timeout` seconds in it is a failure."""
        data = request.body
        with self._connection(timeout or self._timeout) as connection:
            connection.putrequest(request.method, self._target(request), skip_accept_encoding=True)
            for name, value in self._headers(request):
                connection.putheader(name, value)
            if data is not None:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            body = answer.read()
        self._check(answer.status, body, answer.reason, answer.headers.get("Retry-After", ""))
        return body

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

    def text(self, path: str) -> str:
        """Read something that is not JSON, such as a log."""
        return self.send(read(path, accept="*/*")).decode(errors="replace")

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

    def stream(
        self, request: Request, silence: float, feed: Callable[[bytes], None], *, every: float, stopped: Stop
    ) -> None:
        """Pass on what came of an answer, all of `every` seconds together, first nothing when it begins.

        Returns when the server ends it, or when `stopped()`. Raises SilentError after `silence` seconds
        without a byte, and whatever `feed` raises.
        """
        with self._connection(CONNECT) as connection:
            connection.connect()
            stream: socket.socket = connection.sock
            stream.settimeout(self._timeout)
            # In HTTP/1.0: the server then sends the bare stream of lines, without chunks to unwrap.
            head = [f"{request.method} {self._target(request)} HTTP/1.0", f"Host: {connection.server}"]
            head += [f"{name}: {value}" for name, value in self._headers(request)]
            stream.sendall("\r\n".join([*head, "", ""]).encode())
            status, data = _begin(stream)
            self._check(status, data)
            stream.setblocking(False)
            feed(b"")
            feed(data)
            received, more = time.monotonic(), True
            while more and not stopped():
                time.sleep(every)
                data, more = _drain(stream)
                if data:
                    received = time.monotonic()
                    feed(data)
                elif more and time.monotonic() - received > silence:
                    raise SilentError(f"nothing came for {silence:g} s")

    @contextmanager
    def _connection(self, timeout: float) -> Iterator[_Connection]:
        try:
            with closing(_Connection(self.access, timeout)) as connection:
                yield connection
        except (OSError, http.client.HTTPException, AccessError) as error:
            raise UnreachableError(f"{self.access.server} does not answer: {describe(error)}") from error

    def _headers(self, request: Request) -> list[tuple[str, str]]:
        proxied = authorization(self.access.proxy).items() if self._plain_proxy else ()
        return [("User-Agent", self._agent), *request.headers(), *self.access.headers(), *proxied]

    @property
    def _plain_proxy(self) -> bool:
        return bool(self.access.proxy) and self.access.tls is None

    def _target(self, request: Request) -> str:
        server = self.access.server
        return (server if self._plain_proxy else urlsplit(server).path) + request.target

    def _check(self, status: int, body: bytes, reason: str = "", retry_after: str = "") -> None:
        if status == 401:
            self.access.credentials.refused()
        check(status, body, reason, retry_after)


def _begin(stream: socket.socket) -> tuple[int, bytes]:
    """Read an answer's status, and what has come of its body: all of it when it is a refusal."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := stream.recv(_READ)) or len(data) > _LONGEST_HEAD:
            raise ConnectionError(f"the server does not answer in HTTP: {data[:80]!r}")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    version, status, *_ = *head.split(b"\r\n", 1)[0].split(b" "), b""
    if not version.startswith(b"HTTP/1.") or not status.isdigit():
        raise ConnectionError(f"the server does not answer in HTTP: {head[:80]!r}")
    while int(status) >= 400 and (more := stream.recv(_READ)):
        body += more
    return int(status), body


def _drain(stream: socket.socket) -> tuple[bytes, bool]:
    """Return all that has arrived, and whether more may."""
    data = bytearray()
    while True:
        try:
            more = stream.recv(_READ)
        except (BlockingIOError, ssl.SSLWantReadError):
            return bytes(data), True
        if not more:
            return bytes(data), False
        data += more


def follow(client: Client, watch: ListWatch[Any], stopping: threading.Event, *, every: float = 0.25) -> None:
    """Follow a collection, in a thread, until `stopping`, which is noticed within `every` seconds."""

    def stopped() -> bool:
        return stopping.is_set() or watch.listing

    while not stopping.is_set():
        failure: Exception | None = None
        try:
            if watch.listing:
                watch.page(client.send(watch.request()))
                continue
            client.stream(watch.request(), watch.silence, watch.feed, every=every, stopped=stopped)
        except FAILURES as error:
            failure = error
        stopping.wait(watch.ended(failure))
