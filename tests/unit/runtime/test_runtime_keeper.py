"""The runtime keeps a descriptor for the agent: it is taken again, and dropped on request."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from quilt_multicast import keeper as agent_keeper
from quilt_multicast.keeper import Keeper as AgentKeeper
from quilt_nodeagent.executor.client import socket_beside
from quilt_runtime import keeper as runtime_keeper
from quilt_runtime.keeper import SOCKET, Keeper

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="descriptors are kept for root alone")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends wait for each other as long as needed: the other's thread may get its turn late."""
    monkeypatch.setattr(agent_keeper, "_TIMEOUT", 60.0)
    monkeypatch.setattr(runtime_keeper, "TIMEOUT_S", 60.0)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(tmp_path)
    made.start()
    yield made
    made.stop()


def agent(folder: Path) -> AgentKeeper:
    return AgentKeeper(folder / SOCKET, "multicast")


def pipe() -> tuple[int, int]:
    """(reading end that never waits, writing end)."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    return reading, writing


def test_what_is_kept_outlives_its_owner_until_it_is_dropped(keeper: Keeper, tmp_path: Path) -> None:
    reading, writing = pipe()
    agent(tmp_path).keep(writing)
    os.close(writing)
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)
    taken = agent(tmp_path).take()
    assert taken is not None
    os.write(taken, b"x")
    os.close(taken)
    assert os.read(reading, 1) == b"x"
    agent(tmp_path).drop()
    assert os.read(reading, 1) == b""
    assert agent(tmp_path).take() is None
    os.close(reading)


def test_a_newer_one_replaces_the_one_before(keeper: Keeper, tmp_path: Path) -> None:
    pipes = [pipe() for _ in range(2)]
    for _, writing in pipes:
        agent(tmp_path).keep(writing)
        os.close(writing)
    assert os.read(pipes[0][0], 1) == b""
    with pytest.raises(BlockingIOError):
        os.read(pipes[1][0], 1)
    keeper.stop()
    assert os.read(pipes[1][0], 1) == b""
    for reading, _ in pipes:
        os.close(reading)


@pytest.mark.parametrize(
    "request_line",
    [
        b"",
        b"hello\n",
        b"[]\n",
        b'{"do":"keep","name":"other"}\n',
        b'{"do":"give","name":"multicast"}\n',
        b"\xff" * 300,
    ],
)
def test_what_is_not_understood_ends_nothing(keeper: Keeper, tmp_path: Path, request_line: bytes) -> None:
    reading, writing = pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(tmp_path / SOCKET))
        if request_line:
            socket.send_fds(client, [request_line], [writing])
        client.shutdown(socket.SHUT_WR)
        client.settimeout(60)
        with suppress(ConnectionResetError):  # it had not read all
            assert client.recv(100) == b""
    os.close(writing)
    agent(tmp_path).keep(reading)
    taken = agent(tmp_path).take()
    assert taken is not None
    for descriptor in (taken, reading):
        os.close(descriptor)


def test_without_a_runtime_nothing_is_kept_and_nothing_fails(tmp_path: Path) -> None:
    assert agent(tmp_path).take() is None
    agent(tmp_path).drop()


def test_it_is_found_beside_the_runtimes_socket() -> None:
    assert socket_beside("unix:///run/quilt/runtime.sock", "keep.sock") == Path("/run/quilt") / SOCKET
    assert socket_beside("127.0.0.1:50051", "keep.sock") is None
