"""The API layer against a server with faults: watches survive, heartbeats do not depend on anything."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from quilt_crds.wire import QuiltNode, QuiltSubnet
from quilt_health import HealthServer
from quilt_kube.access import Access, Credentials
from quilt_kube.aio import Client, follow
from quilt_kube.listwatch import SILENCE, ListWatch
from quilt_kube.request import ApiError, Request, UnreachableError, read
from quilt_netlink.fake import FakeKernel
from quilt_nodeagent.api.heartbeat import Heartbeat
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.metrics import Metrics
from quilt_nodeagent.sources import ClaimSource, NodeSource
from quilt_nodeagent.view import View
from tests.support.agent_doubles import GROUP, LEASES, FakeApi, eventually

CLAIMS = f"{GROUP}/quiltsubnets"


class Seen:
    """What a watch reported."""

    def __init__(self) -> None:
        self.lists: list[list[str]] = []
        self.events: list[tuple[str, str]] = []

    def listed(self, items: Iterable[QuiltSubnet]) -> None:
        self.lists.append([item.spec.cidr for item in items])

    def changed(self, events: Sequence[tuple[str, QuiltSubnet]]) -> None:
        self.events += [(kind, item.spec.cidr) for kind, item in events]


@pytest.fixture
async def api() -> AsyncIterator[tuple[FakeApi, Client]]:
    fake = FakeApi()
    async with (
        fake.serve() as url,
        Client(Access(url, credentials=Credentials(token="t")), agent="a", timeout=60.0) as client,
    ):
        yield fake, client


@asynccontextmanager
async def watching(
    client: Client, seen: Seen, silence: float = SILENCE
) -> AsyncIterator[ListWatch[QuiltSubnet]]:
    watch = ListWatch(CLAIMS, QuiltSubnet, listed=seen.listed, changed=seen.changed, silence=silence)
    async with running(lambda: follow(client, watch)):
        yield watch


@asynccontextmanager
async def running(run: Callable[[], object]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(run())  # type: ignore[arg-type]
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_watch_lists_once_and_follows(api: tuple[FakeApi, Client]) -> None:
    fake, client = api
    fake.claim("10.42.1.0/24", "a", "198.18.0.1")
    seen = Seen()
    async with watching(client, seen):
        await eventually(lambda: seen.lists)
        fake.claim("10.42.2.0/24", "b", "198.18.0.2")
        fake.delete(CLAIMS, "10.42.1.0-24")
        await eventually(lambda: len(seen.events) == 2)
    assert seen.lists == [["10.42.1.0/24"]]
    assert seen.events == [("ADDED", "10.42.2.0/24"), ("DELETED", "10.42.1.0/24")]


@pytest.mark.parametrize("status", [0, 429, 500, 503])
async def test_a_cut_watch_continues_where_it_was_without_a_list(
    api: tuple[FakeApi, Client], status: int
) -> None:
    fake, client = api
    seen = Seen()
    async with watching(client, seen):
        await eventually(lambda: fake.count("GET", "watch=true") == 1)
        fake.refuse = status
        fake.cut()
        fake.claim("10.42.2.0/24", "b", "198.18.0.2")
        if status:
            await eventually(lambda: fake.count("GET", "limit=1") > 2)
        fake.refuse = 0
        await eventually(lambda: seen.events)
    assert len(seen.lists) == 1


async def test_an_expired_watch_lists_again(api: tuple[FakeApi, Client]) -> None:
    fake, client = api
    seen = Seen()
    async with watching(client, seen):
        await eventually(lambda: fake.count("GET", "watch=true") == 1)
        fake.refuse = 500
        fake.cut()
        fake.claim("10.42.2.0/24", "b", "198.18.0.2")
        fake.expire()
        fake.refuse = 0
        await eventually(lambda: len(seen.lists) == 2)
    assert seen.lists[1] == ["10.42.2.0/24"]


async def test_row_19_a_watch_that_fell_silent_is_noticed(
    api: tuple[FakeApi, Client],
) -> None:
    """Silent death of a watch: the connection stays, nothing comes any more."""
    fake, client = api
    seen = Seen()
    async with watching(client, seen, silence=0.2) as watch:
        await eventually(lambda: fake.count("GET", "watch=true") >= 3 and watch.age < 5)
    assert len(seen.lists) == 1


async def test_row_21_an_api_server_that_is_down_at_the_start_is_waited_for() -> None:
    seen = Seen()
    with socket.socket() as taken:  # so that nobody else serves the port meanwhile
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with Client(Access(url), agent="a") as client, watching(client, seen) as watch:
            await eventually(lambda: watch._backoff._next > 0.5)
            assert not watch.connected
            assert not seen.lists


async def test_errors_are_distinguished(api: tuple[FakeApi, Client]) -> None:
    fake, client = api
    with pytest.raises(ApiError, match="nobody not found") as refused:
        await client.send(read("/api/v1/nodes/nobody"))
    assert refused.value.status == 404
    async with Client(Access("http://127.0.0.1:1"), agent="a") as nowhere:
        with pytest.raises(UnreachableError):
            await nowhere.send(read("/"))
    assert fake.requests


def heartbeat(client: Client, metrics: Metrics, interval: float = 0.02) -> Heartbeat:
    owner = {"apiVersion": "v1", "kind": "Node", "name": "self", "uid": "u"}
    return Heartbeat(
        client, "self", metrics, interval=lambda: interval, duration=lambda: 30.0, owner=lambda: owner
    )


async def test_the_lease_is_made_and_renewed(api: tuple[FakeApi, Client]) -> None:
    fake, client = api
    async with running(heartbeat(client, Metrics()).run):
        await eventually(lambda: fake.count("PUT", LEASES) > 2)
    lease = fake.objects[LEASES]["self"]
    assert lease["spec"]["holderIdentity"] == "self"
    assert lease["spec"]["leaseDurationSeconds"] == 30
    assert lease["metadata"]["ownerReferences"][0]["kind"] == "Node"
    assert fake.count("GET", LEASES) == 1


async def test_a_lease_that_another_writer_touched_is_renewed_all_the_same(
    api: tuple[FakeApi, Client],
) -> None:
    fake, client = api
    async with running(heartbeat(client, Metrics()).run):
        await eventually(lambda: fake.count("PUT", LEASES) > 1)
        fake.put(LEASES, fake.objects[LEASES]["self"])
        fake.put(LEASES, {**fake.objects[LEASES]["self"], "metadata": {"name": "self", "labels": {"a": "b"}}})
        done = fake.count("PUT", LEASES)
        await eventually(lambda: fake.count("PUT", LEASES) > done + 3)
        fake.delete(LEASES, "self")
        await eventually(lambda: "self" in fake.objects[LEASES])


async def test_a_failing_heartbeat_is_not_a_stalled_one(api: tuple[FakeApi, Client]) -> None:
    fake, client = api
    fake.refuse = 500
    metrics = Metrics()
    beat = heartbeat(client, metrics)
    async with running(beat.run):
        await eventually(lambda: len(fake.requests) > 2)
        assert not beat.stalled()
        fake.refuse = 0
        await eventually(lambda: metrics.registry.get_sample_value("quilt_agent_lease_renewals_total"))


async def test_a_quiltnode_deleted_before_its_making_is_answered_is_made_again(
    api: tuple[FakeApi, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, client = api
    fake.put("/api/v1/nodes", {"metadata": {"name": "self"}})
    table = PeerTable("self", "vxlan100")
    view = View(FakeKernel(), table, "self", "default", "")
    claims = ClaimSource(table, "default", lambda marks: None)
    source = NodeSource(client, "self", view, claims, lambda item: None)
    send = client.send

    async def overtaken(request: Request, *, long: bool = False) -> bytes:
        answer = await send(request, long=long)
        if request.method != "POST":
            return answer
        monkeypatch.undo()
        fake.delete(f"{GROUP}/quiltnodes", "self")
        source.changed([("DELETED", QuiltNode())])
        return answer

    monkeypatch.setattr(client, "send", overtaken)
    async with running(source.run):
        await eventually(
            lambda: fake.count("POST", "quiltnodes") == 2 and "self" in fake.objects[f"{GROUP}/quiltnodes"]
        )


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def test_probes_say_what_speaks_against_them() -> None:
    against: list[str] = []
    server = HealthServer(lambda: against, lambda: ["not yet"], lambda: b"metric 1\n")
    port = await server.start("127.0.0.1:0")
    assert (await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
    assert b"503" in (answer := await ask(port, b"GET /readyz?verbose HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert answer.endswith(b"not yet\n")
    assert (await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")).endswith(b"metric 1\n")
    assert b"404" in await ask(port, b"GET / HTTP/1.1\r\n\r\n")
    assert b"405" in await ask(port, b"POST /healthz HTTP/1.1\r\n\r\n")
    assert b"405" in await ask(port, b"nonsense\r\n\r\n")
    against.append("dead")
    assert b"503" in await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n")
    with pytest.raises(OSError, match="--health-addr"):
        await HealthServer(list, list, bytes).start(f"127.0.0.1:{port}", handover=0)
    await server.stop()


async def test_probes_wait_for_a_predecessor_that_is_being_stopped() -> None:
    first, second = HealthServer(list, list, bytes), HealthServer(list, list, bytes)
    port = await first.start("127.0.0.1:0")
    waiting = asyncio.create_task(second.start(f"127.0.0.1:{port}", handover=60.0))
    assert not (await asyncio.wait([waiting], timeout=0.3))[0]
    await first.stop()
    assert await waiting == port
    assert b"200 OK" in await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n")
    await second.stop()
