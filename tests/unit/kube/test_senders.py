"""The senders against answers of every shape: the same bytes, the same errors, every end noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest

from quilt_kube import aio, sync
from quilt_kube.access import Access, Credentials
from quilt_kube.request import (
    ApiError,
    Request,
    SilentError,
    UnreachableError,
    apply,
    check,
    create,
    delete,
    document,
    read,
)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: Chunked\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
WATCH = read("/apis/x", {"fieldSelector": "metadata.name=a"})
Feed = Callable[[bytes], None]


def pieces(data: bytes, at: Sequence[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(data)) for place in at), len(data)]
    return [data[start:stop] for start, stop in pairwise(places)]


def chunked(body: bytes, at: Sequence[int]) -> bytes:
    found = b"".join(b"%X;x=y\r\n%s\r\n" % (len(part), part) for part in pieces(body, at) if part)
    return found + b"0\r\n\r\n"


class Server:
    """Serves one answer per connection and closes, or stays until the client closes."""

    def __init__(self, answer: bytes, stay: bool) -> None:
        self.requests: asyncio.Queue[bytes] = asyncio.Queue()
        self.access = Access("")
        self._answer = answer
        self._stay = stay

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self._answer)
        with suppress(ConnectionError):
            if self._stay:
                await reader.read()
                self.requests.put_nowait(b"closed")
        writer.close()


@asynccontextmanager
async def serving(answer: bytes, *, stay: bool = False) -> AsyncIterator[Server]:
    server = Server(answer, stay)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/proxied"
    server.access = Access(url, credentials=Credentials(token="t"))
    try:
        yield server
    finally:
        listener.close()


async def send(kind: str, access: Access, request: Request) -> bytes:
    if kind == "sync":
        return await asyncio.to_thread(sync.Client(access, agent="a", timeout=60.0).send, request)
    async with aio.Client(access, agent="a", timeout=60.0) as client:
        return await client.send(request)


async def stream(
    access: Access, feed: Feed, silence: float = 60.0, every: float = 0.0, kind: str = "aio"
) -> None:
    def run() -> None:
        for data in sync.Client(access, agent="a", timeout=60.0).stream(WATCH, silence):
            feed(data)

    if kind == "sync":
        await asyncio.to_thread(run)
        return
    async with aio.Client(access, agent="a", timeout=60.0, every=every) as client:
        await client.stream(WATCH, silence, feed)


both = pytest.mark.parametrize("kind", ["aio", "sync"])
streams = pytest.mark.parametrize(("kind", "every"), [("aio", 0.0), ("aio", 0.001), ("sync", 0.0)])


@both
async def test_it_asks_as_any_client(kind: str) -> None:
    async with serving(PLAIN + b"{}") as server:
        assert await send(kind, server.access, WATCH) == b"{}"
    request = (await server.requests.get()).decode()
    assert request.startswith("GET /proxied/apis/x?fieldSelector=metadata.name%3Da HTTP/1.")
    assert "\r\nHost: 127.0.0.1:" in request
    assert "\r\nAuthorization: Bearer t\r\n" in request
    assert "\r\nUser-Agent: a\r\n" in request


@streams
@pytest.mark.parametrize("answer", [HEAD + chunked(b"one\ntwo\n", [2]), PLAIN + b"one\ntwo\n"])
async def test_a_stream_begins_with_nothing_and_returns_when_the_answer_ends(
    answer: bytes, kind: str, every: float
) -> None:
    sent: list[bytes] = []
    async with serving(answer, stay=answer.startswith(HEAD)) as server:
        await stream(server.access, sent.append, every=every, kind=kind)
    assert b"".join(sent) == b"one\ntwo\n"
    assert sent[0] == b""


@both
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 OK\r\n\r\n"])
async def test_what_is_no_answer_is_a_lost_connection(kind: str, sent: bytes) -> None:
    async with serving(sent) as server:
        with pytest.raises(UnreachableError):
            await stream(server.access, lambda _: None)
        with pytest.raises(UnreachableError):
            # http.client makes an empty body of a head that was cut: nothing that `document` accepts.
            document(await send(kind, server.access, read("/")))


@both
@pytest.mark.parametrize("sent", [HEAD, HEAD + b"5\r\none", HEAD + b"-1\r\n", HEAD + b"1_0\r\n"])
async def test_an_answer_in_chunks_that_ends_too_early_is_a_lost_one(kind: str, sent: bytes) -> None:
    async with serving(sent) as server:
        with pytest.raises(UnreachableError):
            await stream(server.access, lambda _: None, kind=kind)


@both
@pytest.mark.parametrize("in_chunks", [False, True])
async def test_a_refusal_is_in_the_servers_words(kind: str, in_chunks: bool) -> None:
    body = b'{"kind":"Status",\n"message":"no way","reason":"Forbidden","code":403}'
    sent = b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    if in_chunks:
        sent = b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, [9])
    async with serving(b"HTTP/1.1 403 Forbidden\r\n" + sent) as server:
        for attempt in (
            stream(server.access, lambda _: None, kind=kind),
            send(kind, server.access, read("/")),
        ):
            with pytest.raises(ApiError, match="no way") as refused:
                await attempt
            assert (refused.value.status, refused.value.reason) == (403, "Forbidden")


@streams
@pytest.mark.parametrize("head", [HEAD, PLAIN])
async def test_silence_is_noticed(head: bytes, kind: str, every: float) -> None:
    async with serving(head, stay=True) as server:
        with pytest.raises(SilentError, match="nothing came for"):
            await stream(server.access, lambda _: None, 0.05, every, kind)


@both
@pytest.mark.parametrize("head", [HEAD, PLAIN])
async def test_what_the_receiver_raises_ends_it_and_the_connection(head: bytes, kind: str) -> None:
    def feed(data: bytes) -> None:
        raise LookupError(data)

    async with serving(head, stay=True) as server:
        with pytest.raises(LookupError):
            await stream(server.access, feed, kind=kind)
        async with asyncio.timeout(60):
            assert await server.requests.get()
            assert await server.requests.get() == b"closed"


@both
async def test_nobody_there_is_unreachable(kind: str) -> None:
    with pytest.raises(UnreachableError):
        await send(kind, Access("http://127.0.0.1:1"), read("/"))


def test_requests_say_what_they_ask_for() -> None:
    made = apply("/x/status", {"a": 1}, "me")
    assert (made.method, made.target) == ("PATCH", "/x/status?fieldManager=me&force=true")
    assert made.headers() == [
        ("Accept", "application/json"),
        ("Content-Type", "application/apply-patch+yaml"),
    ]
    assert create("/x", {}, "me").target == "/x?fieldManager=me"
    assert delete("/x").body is None
    assert delete("/x", uid="u", version="5").body == b'{"preconditions":{"uid":"u","resourceVersion":"5"}}'


@pytest.mark.parametrize(
    ("status", "reason", "property_"),
    [
        (404, "NotFound", "missing"),
        (409, "AlreadyExists", "exists"),
        (409, "Conflict", "conflict"),
        (422, "Invalid", "refused"),
        (503, "", "passing"),
    ],
)
def test_errors_are_distinguished(status: int, reason: str, property_: str) -> None:
    body = b'{"message":"m","reason":"%s"}' % reason.encode()
    with pytest.raises(ApiError, match=rf"m \(HTTP {status}\)") as error:
        check(status, body, "Whatever", "7")
    assert getattr(error.value, property_)
    assert error.value.retry_after == 7


def test_a_proxys_page_is_not_an_answer() -> None:
    with pytest.raises(ApiError, match="<html>"):
        check(502, b"<html>")
    for body in (b"<html>", b"[]", b""):
        with pytest.raises(UnreachableError, match="not as Kubernetes"):
            document(body)
    assert document(b'{"a": 1}') == {"a": 1}
