"""API servers that go without a word, as every component that watches sees them: real TCP in a namespace.

The first watch of each path is the one that dies. A client that notices asks again, and gets what it missed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import aiohttp
import pytest

from bench.node import in_namespace
from quilt_crds.names import LEASE_NAMESPACE, QUILTNODE, QUILTSUBNET
from quilt_crds.wire import QuiltSubnet
from quilt_kube.access import Access
from quilt_kube.aio import Client, follow
from quilt_kube.listwatch import ListWatch
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.sources import ClaimSource
from quilt_operator.api import client as operator
from quilt_operator.api.leases import LeaseWatch

AGENT = QUILTSUBNET.path()
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{LEASE_NAMESPACE}/leases"
KOPF = QUILTNODE.path()
CIDR = "10.42.2.0/24"
Json = dict[str, Any]


class Namespace(Protocol):
    path: str

    def run(self, *command: str, stdin: str | None = None) -> str: ...


def thing(version: int, phase: str) -> Json:
    """A claim and a Lease at once: each watch reads its own part."""
    return {
        "metadata": {"name": "b", "uid": "u", "resourceVersion": str(version)},
        "spec": {"cidr": CIDR, "network": "default", "node": "b", "renewTime": phase},
        "mesh": {"phase": phase, "hostIP": "192.0.2.2"},
    }


class ApiServer:
    """Serves lists at version 10 and watches; all but the first watch of a path tell of version 11."""

    def __init__(self) -> None:
        self.watched: dict[str, list[int]] = {AGENT: [], LEASES: [], KOPF: []}
        """Ports of the clients that watched each path, in their order."""
        self.url = ""
        self.port = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        yield
        server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path, _, query = head.split(b" ")[1].decode().partition("?")
        if "watch=true" in query:
            await self._watch(path, writer)
            return
        body = json.dumps({"metadata": {"resourceVersion": "10"}, "items": [thing(10, "Up")]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        writer.close()

    async def _watch(self, path: str, writer: asyncio.StreamWriter) -> None:
        clients = self.watched[path]
        clients.append(writer.get_extra_info("peername")[1])
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        if len(clients) > 1:
            writer.write(json.dumps({"type": "MODIFIED", "object": thing(11, "Down")}).encode() + b"\n")
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1000)


class Watchers:
    """An agent's claims, the operator's Leases, and kopf's session, each on its watch."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.table = PeerTable("a", "vxlan100")
        self.renewed: list[str] = []
        self.lost: list[str] = []

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        claims = ClaimSource(self.table, "default", lambda keys: None)
        connection = operator.Client(Access(self._server.url))
        leases = LeaseWatch(connection, LEASE_NAMESPACE, self.renewed.extend, lambda: None)
        leases.start()
        async with Client(Access(self._server.url), agent="a") as client:
            watch = ListWatch(AGENT, QuiltSubnet, listed=claims.listed, changed=claims.changed)
            tasks = [
                asyncio.create_task(follow(client, watch)),
                asyncio.create_task(self._as_kopf(connection)),
            ]
            try:
                await until(lambda: all(self._server.watched.values()))
                yield
            finally:
                leases.stop()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await connection.close()

    async def _as_kopf(self, connection: operator.Client) -> None:
        async with connection.session() as session:
            with suppress(aiohttp.ClientError):
                url = f"{self._server.url}{KOPF}?watch=true"
                async with session.get(url, timeout=aiohttp.ClientTimeout()) as answer:
                    await answer.content.readline()
            self.lost.append(KOPF)

    def withdrawn(self) -> bool:
        claim = self.table.claim(CIDR)
        return claim is not None and claim.phase == "Down"


async def until(condition: Callable[[], object], patience: float = 60.0) -> None:
    """Wait for a condition; the patience is the test's."""
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.05)


def inside(netns: Namespace, work: Callable[[ApiServer, Watchers], Awaitable[None]]) -> None:
    async def run() -> None:
        server = ApiServer()
        async with server.serve():
            watchers = Watchers(server)
            async with watchers.watching():
                await work(server, watchers)

    in_namespace(netns.path, lambda: asyncio.run(run()))


def cut(netns: Namespace, server: ApiServer) -> None:
    """Lose every packet of the connections that there are, either way."""
    ports = ", ".join(str(port) for clients in server.watched.values() for port in clients)
    netns.run(
        "nft", "-f", "-",
        stdin=f"""table inet cut {{ chain lost {{ type filter hook input priority 0; policy accept;
            tcp sport {server.port} tcp dport {{ {ports} }} drop
            tcp dport {server.port} tcp sport {{ {ports} }} drop
        }}
        }}
        """,
    )  # fmt: skip


@pytest.mark.timeout(200)
def test_watches_of_an_api_server_that_is_cut_off_without_a_word_go_to_another(netns: Namespace) -> None:
    """t5: A watch whose API server lost power, without FIN or RST, is noticed in less than half a minute."""

    async def work(server: ApiServer, watchers: Watchers) -> None:
        await asyncio.to_thread(cut, netns, server)
        await until(lambda: watchers.withdrawn() and watchers.renewed and watchers.lost)
        assert watchers.withdrawn(), "the agent"
        assert watchers.renewed, "the operator's Leases"
        assert watchers.lost, "kopf"

    inside(netns, work)


@pytest.mark.timeout(300)
def test_watches_of_an_api_server_that_hangs_go_to_another(netns: Namespace) -> None:
    """t5: A watch whose API server hangs but acknowledges is noticed by its first missing bookmark."""

    async def work(server: ApiServer, watchers: Watchers) -> None:
        await until(lambda: watchers.withdrawn() and watchers.renewed, 120.0)
        assert watchers.withdrawn(), "the agent"
        assert watchers.renewed, "the operator's Leases"

    inside(netns, work)
