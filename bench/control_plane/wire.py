"""Requests as cheap as can be, so that the generator does not take the processor from what it measures."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

Json = dict[str, Any]
JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
Call = tuple[str, str, Json | None, str]


class Wire:
    """Kept-alive connections to an API server; `request` uses whichever is free."""

    def __init__(
        self,
        host: str,
        tls: ssl.SSLContext,
        connections: int,
        dial: Callable[[], socket.socket],
        token: str = "",
    ) -> None:
        self._authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        self._host, self._tls, self._dial = host, tls, dial
        self._free: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None] = (
            asyncio.LifoQueue()
        )
        for _ in range(connections):
            self._free.put_nowait(None)

    async def request(
        self, method: str, path: str, body: Json | None = None, kind: str = JSON
    ) -> tuple[int, bytes]:
        """Send one request; return status and body. A broken connection is opened again once."""
        return await self.raw(method, path, json.dumps(body).encode() if body is not None else b"", kind)

    async def raw(self, method: str, path: str, data: bytes, kind: str) -> tuple[int, bytes]:
        """Send one request with a body that is JSON already."""
        stream = await self._free.get()
        try:
            for attempt in (1, 2):
                try:
                    stream = stream or await self._connect()
                    return await self._exchange(stream, method, path, data, kind)
                except (OSError, asyncio.IncompleteReadError):
                    stream = None
                    if attempt == 2:
                        raise
            raise AssertionError
        finally:
            self._free.put_nowait(stream)

    async def ok(self, method: str, path: str, body: Json | None = None, kind: str = JSON) -> bytes:
        """Send one request that must succeed; wait and repeat when the server asks for it."""
        for _ in range(100):
            status, answer = await self.request(method, path, body, kind)
            if status < 300:
                return answer
            if status not in (429, 500, 503) and b"no params found" not in answer:
                break
            await asyncio.sleep(0.2)
        raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")

    async def all(self, calls: Iterable[Call], at_once: int) -> None:
        """Send many requests that must succeed."""
        waiting = iter(calls)

        async def work() -> None:
            for call in waiting:
                await self.ok(*call)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())

    async def watch(self, path: str, ready: Callable[[], None]) -> AsyncGenerator[bytes, None]:
        """Lines of a watch, from now on."""
        reader, writer = await self._connect()
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {self._host}\r\n{self._authorization}\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        ready()
        try:
            while line := await reader.readline():
                yield line
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        stream = await asyncio.to_thread(self._dial)
        return await asyncio.open_connection(
            sock=stream, ssl=self._tls, server_hostname=self._host, limit=1 << 24
        )

    async def _exchange(
        self,
        stream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        method: str,
        path: str,
        data: bytes,
        kind: str,
    ) -> tuple[int, bytes]:
        reader, writer = stream
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: {kind}\r\n"
        writer.write(
            f"{head}{self._authorization}Accept: {JSON}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            + data
        )
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(answer[9:12])
        if b"transfer-encoding: chunked" in answer:
            return status, await _chunks(reader)
        length = int(answer.split(b"content-length: ", 1)[1].split(b"\r", 1)[0])
        return status, await reader.readexactly(length)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while size := int(await reader.readline(), 16):
        found += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return bytes(found)
