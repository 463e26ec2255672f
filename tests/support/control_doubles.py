"""A client of the control socket and an RPF provider: both speak the real protocols over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from quilt_multicast.view import MulticastState
from quilt_pim.core.config import ControlConfig
from quilt_pim.plane import ControlPlane
from quilt_pim.server import serve

Json = dict[str, Any]
TIMEOUT = 10.0


class Client:
    """One connection: replies and notifications in the order in which they come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.events: list[Json] = []

    async def send(self, line: bytes) -> None:
        self.writer.write(line)
        await self.writer.drain()

    async def line(self) -> Json:
        """The next line, whatever it is; {} at the end of the connection."""
        async with asyncio.timeout(TIMEOUT):
            line = await self.reader.readline()
        return json.loads(line) if line else {}

    async def reply(self) -> Json:
        """The next reply; notifications before it are kept."""
        while True:
            document = await self.line()
            if "event" not in document:
                return document
            self.events.append(document)

    async def ask(self, command: str, **fields: Any) -> Json:
        """Send a command and return its reply."""
        await self.send(json.dumps({"command": command, **fields}).encode() + b"\n")
        return await self.reply()

    async def ok(self, command: str, **fields: Any) -> Json:
        """Like ask, and it must succeed."""
        reply = await self.ask(command, **fields)
        assert reply["success"] is True, reply
        return reply

    async def refused(self, command: str, **fields: Any) -> str:
        """Like ask, and it must be refused; the reason."""
        reply = await self.ask(command, **fields)
        assert reply["success"] is False, reply
        assert set(reply) == {"success", "error"}
        return str(reply["error"])

    async def event(self) -> Json:
        """The next notification."""
        if self.events:
            return self.events.pop(0)
        document = await self.line()
        assert "event" in document, document
        return document

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


class Running:
    """A control plane that serves, and clients of it."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self._clients: list[Client] = []

    @property
    def path(self) -> str:
        return self.plane.config.control_sock

    async def client(self, **limits: int) -> Client:
        reader, writer = await asyncio.open_unix_connection(self.path, **limits)
        self._clients.append(Client(reader, writer))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.writer.close()


@asynccontextmanager
async def serving(
    folder: Path, state: MulticastState | None = None, **settings: Any
) -> AsyncIterator[Running]:
    """Serve a control plane with its sockets in a folder."""
    config = ControlConfig(
        control_sock=str(folder / "control.sock"), rpf_sock=str(folder / "rpf.sock"), **settings
    )
    running = Running(ControlPlane(config, state))
    # Providers run in this very process, which a busy machine may hold up for longer than the agent's second.
    running.plane.rpf._timeout = TIMEOUT
    task = asyncio.create_task(serve(running.plane))
    try:
        ready = asyncio.create_task(running.plane.serving.wait())
        await asyncio.wait([ready, task], timeout=TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            ready.cancel()
            await task
        yield running
    finally:
        running.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Provider:
    """An external RPF provider; `answers` maps sources to what is sent, `asked` lists the requests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Json | bytes | None] = {}
        self.asked: list[Json] = []
        self.silent = False
        self.hold = asyncio.Event()
        self.hold.set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Provider]:
        server = await asyncio.start_unix_server(self._serve, str(self.path))
        self.path.chmod(0o660)
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        request = json.loads(await reader.readline())
        self.asked.append(request)
        if self.silent:
            await asyncio.Event().wait()
        await self.hold.wait()
        answer = self.answers.get(request["source"], {"error": "no-route"})
        writer.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n")
        writer.close()


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the time-out is the test's."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110  what is waited for has no event of its own
            await asyncio.sleep(0.002)


def addresses(neighbors: Sequence[Json]) -> list[str]:
    """Addresses of listed neighbors."""
    return [item["address"] for item in neighbors]
