"""The packet socket between agent and runtime: each request gets its own answer, or a call is made."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quilt_netlink.fake import FakeKernel
from quilt_nodeagent.core.overlay import Hop
from quilt_nodeagent.executor.client import RuntimeClient, RuntimeUnavailable
from quilt_proto.node_pb2 import ApplyRoutesRequest
from quilt_runtime.kernel.routes import RouteExecutor
from quilt_runtime.metrics import Metrics
from quilt_runtime.services.route_socket import SOCKET, RouteSocket
from tests.support.runtime_double import FakeRuntime, connected, overlay_kernel, serving

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="routes are changed for root alone")


@pytest.fixture
async def calls(tmp_path: Path) -> AsyncIterator[FakeRuntime]:
    """The runtime's gRPC half, which counts the calls."""
    async with serving(tmp_path) as double:
        yield double


@pytest.fixture
def kernel() -> FakeKernel:
    """What the packet socket's half works on."""
    return overlay_kernel()


def make_served(kernel: FakeKernel, folder: Path) -> RouteSocket:
    runtime: Any = SimpleNamespace(routes=RouteExecutor(kernel), metrics=Metrics())
    made = RouteSocket(runtime, folder)
    made.start()
    return made


@pytest.fixture
def served(kernel: FakeKernel, tmp_path: Path) -> Iterator[RouteSocket]:
    made = make_served(kernel, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[socket.socket]:
    """Somebody who listens and never answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / SOCKET))
        listener.listen()
        yield listener


@pytest.fixture
async def client(calls: FakeRuntime) -> AsyncIterator[RuntimeClient]:
    async with connected(calls) as made:
        yield made


def routes(*numbers: int, device: str = "vxlan100") -> list[tuple[str, Hop]]:
    return [(f"10.42.{n}.0/24", Hop(f"10.42.{n}.0", device)) for n in numbers]


def held(kernel: FakeKernel) -> list[str]:
    return sorted(route.prefix for route in kernel.routes(81))


async def test_requests_under_way_together_get_their_own_answers(
    calls: FakeRuntime, served: RouteSocket, kernel: FakeKernel, client: RuntimeClient
) -> None:
    devices = ("absent0", "vxlan100")
    answers = await asyncio.gather(
        *(client.apply_routes(routes(n, device=devices[n % 2]), ()) for n in range(10))
    )
    refused = [[refusal.destination for refusal in answer] for answer in answers]
    assert refused == [[f"10.42.{n}.0/24"] if n % 2 == 0 else [] for n in range(10)]
    assert answers[0][0].error == "Interface 'absent0' not found"
    assert held(kernel) == [f"10.42.{n}.0/24" for n in range(1, 10, 2)]
    assert await client.apply_routes((), ["10.42.1.0/24", "10.42.99.0/24"]) == []
    assert held(kernel) == [f"10.42.{n}.0/24" for n in range(3, 10, 2)]
    assert calls.calls == 0


async def test_many_routes_go_by_a_call(
    calls: FakeRuntime, served: RouteSocket, kernel: FakeKernel, client: RuntimeClient
) -> None:
    assert await client.apply_routes(routes(*range(9)), ()) == []
    assert (held(kernel), calls.calls) == ([], 1)


async def test_where_nobody_serves_the_socket_a_call_is_made_until_somebody_does(
    calls: FakeRuntime, kernel: FakeKernel, client: RuntimeClient, tmp_path: Path
) -> None:
    assert await client.apply_routes(routes(1), ()) == []
    made = make_served(kernel, tmp_path)
    assert await client.apply_routes(routes(2), ()) == []
    made.stop()
    assert await client.apply_routes(routes(3), ()) == []
    again = make_served(kernel, tmp_path)
    assert await client.apply_routes(routes(4), ()) == []
    again.stop()
    assert held(kernel) == ["10.42.2.0/24", "10.42.4.0/24"]
    assert calls.calls == 2


async def test_a_runtime_that_hangs_is_given_up_and_its_late_answer_is_nobodys(
    calls: FakeRuntime, silent: socket.socket
) -> None:
    hasty = RuntimeClient(calls.address, timeout=0.2)
    with pytest.raises(RuntimeUnavailable, match=r"does not answer: no answer within 0\.2 s"):
        await hasty.apply_routes(routes(1), ())
    connection, _ = silent.accept()
    with connection:
        assert ApplyRoutesRequest.FromString(connection.recv(4096)).groups[0].destinations == ["10.42.1.0/24"]
        assert connection.recv(4096) == b""
    assert calls.calls == 0
    await hasty.close()


async def test_who_stops_waiting_leaves_no_answer_for_the_next(
    calls: FakeRuntime, silent: socket.socket, client: RuntimeClient
) -> None:
    asking = asyncio.create_task(client.apply_routes(routes(1), ()))
    connection, _ = await asyncio.to_thread(silent.accept)
    with connection:
        assert connection.recv(4096)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert connection.recv(4096) == b""


def test_a_caller_that_sends_something_else_is_disconnected(served: RouteSocket, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.connect(str(tmp_path / SOCKET))
        stranger.send(b"no message")
        assert stranger.recv(4096) == b""


def test_the_end_waits_for_no_connection(kernel: FakeKernel, tmp_path: Path) -> None:
    made = make_served(kernel, tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as idle:
        idle.connect(str(tmp_path / SOCKET))
        idle.send(ApplyRoutesRequest(remove=["10.42.2.0/24"]).SerializeToString())
        assert idle.recv(4096)
        made.stop()
        assert idle.recv(4096) == b""
    assert not (tmp_path / SOCKET).exists()
