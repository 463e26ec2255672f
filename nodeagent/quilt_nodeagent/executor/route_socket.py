"""The runtime's packet socket for a few routes: a third of the way that a gRPC call takes.

A packet is a number of ours (4 bytes) and an ApplyRoutesRequest; its answer is the same number
and an ApplyRoutesResponse.
"""

from __future__ import annotations

import asyncio
import socket
from itertools import count
from pathlib import Path

from google.protobuf.message import DecodeError

from quilt_proto.node_pb2 import ApplyRoutesRequest, ApplyRoutesResponse

_NUMBER = 4
# Bytes: many times the answer to the few routes that go this way.
_BUFFER = 16 << 10
_TRUNCATED = int(socket.MSG_TRUNC)  # an enumeration's `&` would cost more than the receiving


class NotServedError(Exception):
    """Nobody serves the socket, or who did went before the answer: a call may be made instead."""


class RouteSocket:
    """One connection, made when it is needed and again after it was lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sock: socket.socket | None = None
        self._numbers = count()
        self._waiting: dict[bytes, asyncio.Future[ApplyRoutesResponse]] = {}

    async def ask(self, request: ApplyRoutesRequest, seconds: float) -> ApplyRoutesResponse:
        """Return the answer to a request; raises NotServedError, and TimeoutError after `seconds`."""
        number = (next(self._numbers) % (1 << 32)).to_bytes(_NUMBER, "little")
        try:
            sock = self._sock or self._connect()
            sock.send(number + request.SerializeToString())
        except OSError as error:
            raise NotServedError(str(error)) from error
        answer: asyncio.Future[ApplyRoutesResponse] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(seconds):
                return await answer
        finally:
            # An answer that comes later is nobody's.
            del self._waiting[number]

    def close(self) -> None:
        """Close the connection; who waits for an answer gets none."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(NotServedError("the connection was closed"))

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            sock.connect(str(self._path))
        except OSError:
            sock.close()
            raise
        asyncio.get_running_loop().add_reader(sock, self._read, sock)
        self._sock = sock
        return sock

    def _read(self, sock: socket.socket) -> None:
        try:
            data, _, flags, _ = sock.recvmsg(_BUFFER)
            response = ApplyRoutesResponse.FromString(data[_NUMBER:])
        except BlockingIOError:
            return
        except (OSError, DecodeError):
            data = b""
        if not data or flags & _TRUNCATED:
            self.close()
            return
        answer = self._waiting.get(data[:_NUMBER])
        if answer is not None and not answer.done():
            answer.set_result(response)


def socket_beside(runtime_addr: str, name: str) -> Path | None:
    """Return the path of another socket beside a gRPC address; None where that is no Unix socket."""
    scheme, _, path = runtime_addr.partition("unix:")
    return Path(path.removeprefix("//")).with_name(name) if not scheme and path else None
