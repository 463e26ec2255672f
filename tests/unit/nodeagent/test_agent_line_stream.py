"""A watch's connection: whatever pieces an answer comes in, its lines are the same, and every end is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_nodeagent.api.access import Access
from quilt_nodeagent.api.client import ApiClient, ApiError, ApiUnreachableError
from quilt_nodeagent.api.line_stream import Answer, AnswerError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: Chunked\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
cuts = st.lists(st.integers(0, 500), max_size=20)


def pieces(data: bytes, at: Sequence[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(data)) for place in at), len(data)]
    return [data[start:stop] for start, stop in pairwise(places)]


def chunked(body: bytes, at: Sequence[int]) -> bytes:
    found = b"".join(b"%X;x=y\r\n%s\r\n" % (len(part), part) for part in pieces(body, at) if part)
    return found + b"0\r\n\r\n"


@given(st.lists(st.binary(max_size=60).filter(lambda line: b"\n" not in line)), cuts, cuts, st.booleans())
def test_lines_are_the_same_in_whatever_pieces_they_come(
    lines: list[bytes], chunks: list[int], reads: list[int], in_chunks: bool
) -> None:
    body = b"".join(line + b"\n" for line in lines) + b"begun"
    sent = HEAD + chunked(body, chunks) if in_chunks else PLAIN + body
    answer = Answer()
    told = [line for piece in pieces(sent, reads) for line in answer.feed(piece)]
    assert (told, answer.begun, answer.status) == (lines, b"begun", 200)
    assert answer.complete == in_chunks
    assert not answer.cut


@given(st.binary(max_size=200), cuts)
def test_what_is_no_answer_is_refused_and_nothing_else_is_raised(data: bytes, reads: list[int]) -> None:
    for head in (b"", HEAD):
        answer = Answer()
        try:
            for piece in pieces(head + data, reads):
                answer.feed(piece)
        except AnswerError:
            pass


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * (64 << 10),
        HEAD + b"-1\r\n",
        HEAD + b"1_0\r\n",
        HEAD + b"\r\n",
    ],
)
def test_an_answer_that_cannot_be_understood(sent: bytes) -> None:
    with pytest.raises(AnswerError, match="the server"):
        Answer().feed(sent)


@pytest.mark.parametrize("begin", [PLAIN, HEAD + b"fffffff\r\n"])
def test_a_line_without_end_does_not_fill_the_memory(begin: bytes) -> None:
    answer = Answer()
    answer.feed(begin + b"x" * (8 << 20))
    with pytest.raises(AnswerError, match="more than 16777216 bytes"):
        answer.feed(b"x" * (9 << 20))


@asynccontextmanager
async def server(
    answer: bytes, *, stay: bool = False
) -> AsyncIterator[tuple[ApiClient, asyncio.Queue[bytes]]]:
    """Serve one answer and close, or stay until the client closes; what the client sent is in the queue."""
    requests: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        if stay:
            with suppress(ConnectionError):
                await reader.read()
            requests.put_nowait(b"closed")
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    access = Access(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/proxied", token="t")
    try:
        async with ApiClient(access, timeout=60.0) as client:
            yield client, requests
    finally:
        listener.close()
        await listener.wait_closed()


async def follow(client: ApiClient, silence: float = 60.0) -> list[list[bytes]]:
    told: list[list[bytes]] = []
    await client.follow(
        "/apis/x", {"fieldSelector": "metadata.name=a"}, silence, lambda lines: told.append(list(lines))
    )
    return told


async def test_it_asks_as_any_client_and_returns_when_the_answer_ends() -> None:
    async with server(HEAD + chunked(b"one\ntwo\n", [2]), stay=True) as (client, requests):
        assert await follow(client) == [[b"one", b"two"]]
    request = (await requests.get()).decode()
    assert request.startswith(
        "GET /proxied/apis/x?fieldSelector=metadata.name%3Da HTTP/1.1\r\nHost: 127.0.0.1:"
    )
    assert "\r\nAuthorization: Bearer t\r\n" in request


async def test_an_answer_up_to_the_end_of_the_connection() -> None:
    async with server(PLAIN + b"one\n") as (client, _):
        assert await follow(client) == [[b"one"]]


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200", HEAD, HEAD + b"5\r\none"])
async def test_a_connection_that_ends_too_early_is_a_lost_one(sent: bytes) -> None:
    async with server(sent) as (client, _):
        with pytest.raises(ApiUnreachableError, match="the server closed the connection"):
            await follow(client)


async def test_a_refusal_is_told_in_the_servers_words() -> None:
    body = b'{"kind":"Status",\n"message":"no way","code":403}'
    for sent in (
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body),
        b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, [9]),
    ):
        async with server(b"HTTP/1.1 403 Forbidden\r\n" + sent) as (client, _):
            with pytest.raises(ApiError, match="no way") as refused:
                await follow(client)
        assert refused.value.status == 403


async def test_silence_is_noticed() -> None:
    async with server(HEAD, stay=True) as (client, _):
        with pytest.raises(ApiUnreachableError, match="nothing came for"):
            await follow(client, 0.05)


async def test_what_the_taker_raises_ends_it_and_the_connection() -> None:
    def take(lines: Sequence[bytes]) -> None:
        raise LookupError(lines)

    async with server(HEAD, stay=True) as (client, requests):
        with pytest.raises(LookupError):
            await client.follow("/x", {}, 60.0, take)
        async with asyncio.timeout(60):
            assert await requests.get()
            assert await requests.get() == b"closed"
