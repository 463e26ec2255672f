"""An API server as it is on its worst day: news late or twice, conflicts, answers lost, callers killed.

A plain HTTP server in front of the real one, as its administrator. Faults are drawn from a seeded generator.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from bench.control_plane.wire import JSON, Wire

_CONFLICT = (
    b'{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409,"message":"drawn"}'
)
_GONE = (
    b'{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410,'
    b'"message":"too old resource version: drawn"}}\n'
)


_FAILED = (
    b'{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"InternalError","code":%d,'
    b'"message":"etcdserver: request timed out: drawn"}}\n'
)


@dataclass
class Faults:
    """Chances, 0 to 1, and what happened."""

    late: float = 0.03
    again: float = 0.05
    conflict: float = 0.03
    lost: float = 0.02
    killed: float = 0.01
    cut: float = 0.002
    gone: float = 0.05
    failed: float = 0.01
    drawn: Counter[str] = field(default_factory=Counter)


class Proxy:
    """One caller's way to the API server; `kill()` ends that caller with SIGKILL."""

    def __init__(self, wire: Wire, faults: Faults, seed: int, kill: Callable[[], None]) -> None:
        self._wire = wire
        self._faults = faults
        self._random = random.Random(seed)
        self._kill = kill
        self.calm = False
        self.away = False
        """While true nobody is answered."""
        self._watching: dict[asyncio.StreamWriter, str] = {}
        self._expired: set[str] = set()
        self._begun: set[asyncio.StreamWriter] = set()
        self._silent: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Listen; return the address as a URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 24)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close all connections."""
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _strikes(self, fault: str) -> bool:
        if self.calm or self._random.random() >= getattr(self._faults, fault):
            return False
        self._faults.drawn[fault] += 1
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError, RuntimeError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        method, path, version = lines[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if self.away:
            return False
        if "watch=true" in path:
            await self._watch(path, writer)
            return False
        status, answer = await self._forward(method, path, body, headers.get("content-type", JSON))
        if not status:
            return False
        writer.write(
            f"HTTP/1.1 {status} -\r\nContent-Type: {JSON}\r\nContent-Length: {len(answer)}\r\n\r\n".encode()
        )
        writer.write(answer)
        await writer.drain()
        return version == "HTTP/1.1"

    async def _forward(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
        # The leader's Lease stays: two that both lead are what is tried here.
        if "/leases" in path:
            return await self._wire.raw(method, path, body, kind)
        if self._strikes("killed"):
            self._kill()
            return 0, b""
        if method in {"PUT", "PATCH", "DELETE"} and self._strikes("conflict"):
            return 409, _CONFLICT
        answer = await self._wire.raw(method, path, body, kind)
        if self._strikes("killed"):
            self._kill()
            return 0, b""
        # The caller cannot know whether it was done.
        return (0, b"") if self._strikes("lost") else answer

    async def _watch(self, path: str, writer: asyncio.StreamWriter) -> None:
        start = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\nConnection: close\r\n\r\n".encode()
        if path.partition("?")[0] in self._expired or self._strikes("gone"):
            self._expired.discard(path.partition("?")[0])
            writer.write(start + _GONE)
            return
        if self._strikes("failed"):
            writer.write(start + _FAILED % 500)
            return
        seen: list[bytes] = []
        self._watching[writer] = path.partition("?")[0]
        try:
            await self._stream(path, start, writer, seen)
        finally:
            del self._watching[writer]
            self._begun.discard(writer)
            self._silent.discard(writer)

    @property
    def begun(self) -> int:
        """How many watches have begun and go on."""
        return len(self._begun)

    def mute(self) -> int:
        """Let every watch stay open and say nothing any more; how many there are."""
        self._silent = set(self._watching)
        return len(self._silent)

    def cut(self) -> int:
        """Cut every watch, and answer 410 Gone when it is resumed; how many there were."""
        self._expired = set(self._watching.values())
        for writer in self._watching:
            writer.close()
        return len(self._expired)

    def fail(self, code: int) -> int:
        """End every watch that has begun by an ERROR event of this code; how many there were."""
        for writer in self._begun:
            writer.write(_FAILED % code)
            writer.close()
        return len(self._begun)

    async def _stream(self, path: str, start: bytes, writer: asyncio.StreamWriter, seen: list[bytes]) -> None:
        def begin() -> None:
            writer.write(start)
            self._begun.add(writer)

        async with aclosing(self._wire.watch(path, begin)) as lines:
            async for line in lines:
                if writer in self._silent:
                    continue
                if self._strikes("cut"):
                    return
                if self._strikes("late"):
                    await asyncio.sleep(self._random.uniform(0.1, 1.5))
                writer.write(line)
                if b'"type":"BOOKMARK"' not in line:
                    seen = [*seen[-50:], line]
                    if self._strikes("again"):
                        writer.write(self._random.choice(seen))
                await writer.drain()
