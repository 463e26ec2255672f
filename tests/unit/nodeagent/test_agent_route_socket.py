"""The packet socket between agent and runtime: each request gets its own answer, or a call is made."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from runtime_double import FakeRuntime

from quilt_netlink import FakeKernel, Link
from quilt_nodeagent.core.state import Hop
from quilt_nodeagent.executor.client import RuntimeClient
from quilt_nodeagent.executor.errors import RuntimeUnavailable
from quilt_proto.node_pb2 import ApplyRoutesRequest, ApplyRoutesResponse, RouteResult
from quilt_runtime.services.route_socket import MAX_REQUEST, SOCKET, RouteSocket

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="routes are changed for root alone")


class Table:
    """Refuses what it is told to; `hold`, where there is one, is awaited before an answer."""

    def __init__(self) -> None:
        self.refuse: set[str] = set()
        self.hold: Callable[[], Awaitable[object]] | None = None
        self.asked = 0

    def short(self, request: ApplyRoutesRequest) -> bool:
        return self.hold is None

    def apply_now(self, request: ApplyRoutesRequest) -> ApplyRoutesResponse:
        self.asked += 1
        asked = [destination for group in request.groups for destination in group.destinations]
        refused = [destination for destination in asked if destination in self.refuse]
        return ApplyRoutesResponse(results=[RouteResult(destination=d, error="no") for d in refused])

    async def ApplyRoutes(self, request: ApplyRoutesRequest, context: object) -> ApplyRoutesResponse:  # noqa: N802
        assert self.hold is not None
        await self.hold()
        return self.apply_now(request)


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
async def calls(tmp_path: Path) -> AsyncIterator[FakeRuntime]:
    """The runtime's gRPC half, which counts the calls."""
    double = FakeRuntime(FakeKernel([Link("vxlan100", kind="veth", up=True)]), tmp_path)
    await double.start()
    yield double
    await double.stop()


@pytest.fixture
async def served(table: Table, tmp_path: Path) -> AsyncIterator[RouteSocket]:
    made = RouteSocket(table, tmp_path)
    made.start()
    yield made
    await made.stop()


@pytest.fixture
async def client(calls: FakeRuntime) -> AsyncIterator[RuntimeClient]:
    connected = RuntimeClient(calls.address, timeout=60.0)
    yield connected
    await connected.close()


def routes(*numbers: int) -> list[tuple[str, Hop]]:
    return [(f"10.42.{n}.0/24", Hop(f"10.42.{n}.0", "vxlan100")) for n in numbers]


async def test_requests_under_way_together_get_their_own_answers(
    calls: FakeRuntime, served: RouteSocket, table: Table, client: RuntimeClient
) -> None:
    table.refuse = {f"10.42.{n}.0/24" for n in range(0, 40, 2)}
    answers = await asyncio.gather(*(client.apply_routes(routes(n), ()) for n in range(40)))
    refused = [[refusal.destination for refusal in answer] for answer in answers]
    assert refused == [[f"10.42.{n}.0/24"] if n % 2 == 0 else [] for n in range(40)]
    assert (table.asked, calls.calls) == (40, 0)


async def test_many_routes_go_by_a_call(
    calls: FakeRuntime, served: RouteSocket, table: Table, client: RuntimeClient
) -> None:
    assert await client.apply_routes(routes(*range(9)), ()) == []
    assert (table.asked, calls.calls) == (0, 1)


async def test_where_nobody_serves_the_socket_a_call_is_made_until_somebody_does(
    calls: FakeRuntime, table: Table, client: RuntimeClient, tmp_path: Path
) -> None:
    assert await client.apply_routes(routes(1), ()) == []
    made = RouteSocket(table, tmp_path)
    made.start()
    assert await client.apply_routes(routes(2), ()) == []
    await made.stop()
    assert await client.apply_routes(routes(3), ()) == []
    again = RouteSocket(table, tmp_path)
    again.start()
    assert await client.apply_routes(routes(4), ()) == []
    await again.stop()
    assert (table.asked, calls.calls) == (2, 2)


async def test_a_runtime_that_goes_fails_all_under_way_and_is_found_again(
    calls: FakeRuntime, client: RuntimeClient
) -> None:
    async def go() -> None:
        calls.before_answer = go  # for each call: none shall be answered while the first one ends the runtime
        await calls.stop()

    calls.before_answer = go
    results = await asyncio.gather(
        *(client.apply_routes(routes(n), ()) for n in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [RuntimeUnavailable] * 3
    with pytest.raises(RuntimeUnavailable):
        await client.apply_routes(routes(4), ())
    calls.before_answer = None
    await calls.start()
    await asyncio.wait_for(client.channel.channel_ready(), 10)
    assert await client.apply_routes(routes(5), ()) == []


async def test_a_connection_lost_before_the_answer_is_made_up_for_by_a_call(
    calls: FakeRuntime, served: RouteSocket, table: Table, client: RuntimeClient
) -> None:
    assert client._route_socket is not None
    reached, hangs = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        reached.set()
        await hangs.wait()

    table.hold = hold
    asking = asyncio.create_task(client.apply_routes(routes(1), ()))
    await reached.wait()
    client._route_socket.close()
    assert await asking == []
    assert calls.calls == 1
    hangs.set()


async def test_a_runtime_that_hangs_is_given_up_and_its_late_answer_is_nobodys(
    calls: FakeRuntime, served: RouteSocket, table: Table
) -> None:
    hangs = asyncio.Event()
    table.hold, table.refuse = hangs.wait, {"10.42.1.0/24"}
    hasty = RuntimeClient(calls.address, timeout=0.2)
    with pytest.raises(RuntimeUnavailable, match=r"did not answer within 0\.2 s"):
        await hasty.apply_routes(routes(1), ())
    hangs.set()
    hasty._timeout = 60.0
    assert await hasty.apply_routes(routes(2), ()) == []
    await hasty.close()


async def test_who_stops_waiting_leaves_no_answer_for_the_next(
    served: RouteSocket, table: Table, client: RuntimeClient
) -> None:
    reached, hangs = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        reached.set()
        await hangs.wait()

    table.hold, table.refuse = hold, {"10.42.1.0/24"}
    asking = asyncio.create_task(client.apply_routes(routes(1), ()))
    await reached.wait()
    asking.cancel()
    hangs.set()
    assert await client.apply_routes(routes(2), ()) == []


@pytest.mark.parametrize(
    "packet", [b"\x00", b"\x00\x00\x00\x00\xff", bytes(MAX_REQUEST + 1)], ids=["number", "message", "length"]
)
async def test_what_is_no_request_ends_the_connection_and_nothing_else(
    packet: bytes, served: RouteSocket, client: RuntimeClient, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.connect(str(tmp_path / SOCKET))
        stranger.setblocking(False)
        stranger.send(packet)
        assert await asyncio.wait_for(loop.sock_recv(stranger, 100), 60) == b""
    assert await client.apply_routes(routes(2), ()) == []


@pytest.mark.parametrize("answer", [b"\xff" * 9, bytes(20_000)], ids=["message", "length"])
async def test_an_answer_that_cannot_be_read_is_made_up_for_by_a_call(
    answer: bytes, calls: FakeRuntime, client: RuntimeClient, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / SOCKET))
        listener.listen()
        listener.setblocking(False)
        asking = asyncio.create_task(client.apply_routes(routes(1), ()))
        connection, _ = await loop.sock_accept(listener)
        with connection:
            await loop.sock_recv(connection, MAX_REQUEST)
            await loop.sock_sendall(connection, answer)
            assert await asking == []
    assert calls.calls == 1


async def test_only_root_may_connect(table: Table) -> None:
    script = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
        "s.connect(sys.argv[1]); sys.exit(s.recv(100) != b'')"
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / SOCKET
        made = RouteSocket(table, path.parent)
        made.start()
        assert path.stat().st_mode & 0o777 == 0o600
        path.parent.chmod(0o755)  # what would keep a stranger out before its uid does
        path.chmod(0o666)
        process = await asyncio.create_subprocess_exec("python3", "-c", script, str(path))
        assert await asyncio.wait_for(process.wait(), 60) == 0
        await made.stop()
    assert table.asked == 0
