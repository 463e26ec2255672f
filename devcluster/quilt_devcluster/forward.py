"""Forward a loopback port of the machine to an address that exists only inside a network namespace.

A socket belongs for ever to the namespace in which it was made, and the namespace is a property of a thread:
one thread moves into the cluster's namespace and makes sockets there, the event loop uses them from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor

CLONE_NEWNET = 0x40000000
CHUNK = 1 << 18


def _enter(netns: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with open(netns) as handle:  # noqa: PTH123 - a namespace file is only a descriptor to hand over
        if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"setns {netns}: {os.strerror(number)}")


def _make_socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class Forwarder:
    """Accepts on 127.0.0.1 and connects each client to `host`:`port` inside the namespace of file `netns`."""

    def __init__(self, netns: str, host: str, port: int) -> None:
        """Remember where to; nothing listens yet."""
        self._thread = ThreadPoolExecutor(max_workers=1, initializer=_enter, initargs=(netns,))
        self._target = (host, port)
        self._server: asyncio.Server | None = None

    async def start(self, listen: int) -> int:
        """Listen on 127.0.0.1:`listen`, or on a free port when that is taken; return the port."""
        try:
            self._server = await asyncio.start_server(self._client, "127.0.0.1", listen)
        except OSError:
            self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            target = await loop.run_in_executor(self._thread, _make_socket)
            await loop.sock_connect(target, self._target)
            far_reader, far_writer = await asyncio.open_connection(sock=target)
        except OSError:
            # Nobody listens there now, for example while the API server restarts: the client sees a reset.
            writer.transport.abort()
            return
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction to its end, then close the other side's writing half, as a relay must."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
            return
    writer.close()
