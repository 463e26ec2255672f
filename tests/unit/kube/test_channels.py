"""A command's streams come whole through whatever pieces they come in."""

from __future__ import annotations

import json
import threading
from socket import create_server

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_kube.access import Access
from quilt_kube.channels import Channels, CommandError, target
from quilt_kube.request import ApiError, UnreachableError
from quilt_kube.sync import Client

DONE = json.dumps({"status": "Success"}).encode()


def frame(kind: int, content: bytes, *, last: bool = True) -> bytes:
    head = bytes([(0x80 if last else 0) | kind])
    if len(content) < 126:
        return head + bytes([len(content)]) + content
    if len(content) < 1 << 16:
        return head + b"\x7e" + len(content).to_bytes(2, "big") + content
    return head + b"\x7f" + len(content).to_bytes(8, "big") + content


def fed(data: bytes, sizes: list[int]) -> Channels:
    streams, at = Channels(), 0
    for size in [*sizes, len(data)]:
        streams.feed(data[at : at + size])
        at += size
    return streams


@given(
    st.lists(st.tuples(st.sampled_from((1, 2)), st.binary(max_size=70_000)), max_size=4),
    st.lists(st.integers(0, 5000), max_size=8),
)
def test_streams_are_put_together(written: list[tuple[int, bytes]], sizes: list[int]) -> None:
    frames = [frame(2, bytes([channel]) + content) for channel, content in written]
    streams = fed(b"".join([*frames, frame(2, b"\x03" + DONE), frame(8, b"")]), sizes)
    assert bytes(streams.out) == b"".join(content for channel, content in written if channel == 1)
    assert bytes(streams.err) == b"".join(content for channel, content in written if channel == 2)
    assert streams.done
    assert not streams.failure()


def test_a_message_in_several_frames_is_of_one_stream() -> None:
    streams = fed(frame(2, b"\x01ab", last=False) + frame(0, b"cd"), [])
    assert bytes(streams.out) == b"abcd"


def test_a_ping_is_answered_and_a_broken_connection_is_a_failure() -> None:
    streams = fed(frame(9, b"hello"), [])
    assert streams.reply == b"\x8a\x85\0\0\0\0hello"
    assert streams.failure() == "the connection ended before the command did"


def test_what_is_no_stream_is_refused() -> None:
    with pytest.raises(UnreachableError):
        Channels().feed(b"\x82\xff")


def test_the_command_is_in_the_query() -> None:
    assert target("ns", "pod", "c", ["a b", "-c"]).endswith(
        "/pods/pod/exec?container=c&stdout=1&stderr=1&command=a+b&command=-c"
    )


def answered(answer: bytes, *, hangs: bool = False) -> bytes:
    """What a client gets from a server that answers so, and then ends or `hangs`."""
    with create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                if hangs:
                    connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            client = Client(Access(f"http://127.0.0.1:{server.getsockname()[1]}"), agent="test")
            return client.execute("ns", "pod", "agent", ["true"], within=0.2 if hangs else None)
        finally:
            thread.join()


UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_a_command_is_run_and_its_output_returned() -> None:
    assert answered(UPGRADED + frame(2, b"\x01out") + frame(2, b"\x03" + DONE) + frame(8, b"")) == b"out"


def test_a_command_that_fails_and_a_refusal_say_why() -> None:
    failed = json.dumps({"status": "Failure", "message": "exit code 2"}).encode()
    with pytest.raises(CommandError, match="exit code 2"):
        answered(UPGRADED + frame(2, b"\x03" + failed) + frame(8, b""))
    with pytest.raises(CommandError, match="no such thing"):
        answered(UPGRADED + frame(2, b"\x02no such thing\n") + frame(2, b"\x03" + failed) + frame(8, b""))
    body = json.dumps({"message": "pods is forbidden", "code": 403}).encode()
    with pytest.raises(ApiError, match="pods is forbidden"):
        answered(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.parametrize("answer", [b"", UPGRADED, UPGRADED + frame(2, b"\x01out")])
def test_a_command_that_hangs_is_given_up(answer: bytes) -> None:
    with pytest.raises(UnreachableError, match="no answer in time"):
        answered(answer, hangs=True)
