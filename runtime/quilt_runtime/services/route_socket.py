"""A few routes at a time over a packet socket, for the agent: a third of the way that a gRPC call takes.

A packet is a number of the caller's (4 bytes) and an ApplyRoutesRequest; its answer is the same number and an
ApplyRoutesResponse. Only root may connect. Whoever sends anything else is disconnected.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Protocol

import structlog
from google.protobuf.message import DecodeError

from quilt_proto import node_pb2 as pb
from quilt_runtime.services.acceptor import RETRY_S
from quilt_runtime.services.sockets import SocketFile, peer_uid

log = structlog.get_logger()

SOCKET = "routes.sock"
MAX_REQUEST = 4096
NUMBER = 4
_TRUNCATED = int(socket.MSG_TRUNC)  # an enumeration's `&` would cost more than the receiving
_UMASK = 0o177
_BACKLOG = 4


class Table(Protocol):
    """Who applies requests: RouteTableService."""

    def short(self, request: pb.ApplyRoutesRequest) -> bool:
        """Whether a request is done sooner than somebody else could be asked to do it."""

    def apply_now(self, request: pb.ApplyRoutesRequest) -> pb.ApplyRoutesResponse:
        """Apply a short request."""

    async def ApplyRoutes(self, request: pb.ApplyRoutesRequest, context: object) -> pb.ApplyRoutesResponse:  # noqa: N802
        """Apply any request."""


class RouteSocket:
    """Serves every connection on the running event loop."""

    def __init__(self, table: Table, socket_dir: Path) -> None:
        self._table = table
        self._file = SocketFile(socket_dir / SOCKET)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._loop = asyncio.get_running_loop()
        self._connections: set[socket.socket] = set()
        self._long: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Listen; the socket stands at its path when this returns."""
        with self._file.binding(_UMASK) as path:
            self._listener.bind(str(path))
            self._listener.listen(_BACKLOG)
        self._listen()

    def _listen(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    async def stop(self) -> None:
        """Accept nothing more, finish what is under way, and disconnect everybody."""
        self._file.remove()
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        await asyncio.gather(*self._long)
        for connection in tuple(self._connections):
            self._disconnect(connection)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return  # who asked is gone again
        except OSError as error:
            # Want of descriptors, most likely: the listener stays readable, so do not spin until it is over.
            if self._retry is None:
                log.error("accept_failed", socket=str(self._file.path), reason=str(error), again_in_s=RETRY_S)
            self._loop.remove_reader(self._listener)
            self._retry = self._loop.call_later(RETRY_S, self._listen)
            return
        if self._retry is not None:
            self._retry = None
            log.info("accept_recovered", socket=str(self._file.path))
        if uid := peer_uid(connection):
            log.info("route_socket_refused", reason=f"only root may change routes, not uid {uid}")
            connection.close()
            return
        connection.setblocking(False)
        self._connections.add(connection)
        self._loop.add_reader(connection, self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            data, _, flags, _ = connection.recvmsg(MAX_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            data, flags = b"", 0
        if not data:
            self._disconnect(connection)
            return
        try:
            if flags & _TRUNCATED:
                raise ValueError(f"it is longer than {MAX_REQUEST} bytes")
            if len(data) < NUMBER:
                raise ValueError("it has no number")
            request = pb.ApplyRoutesRequest.FromString(data[NUMBER:])
        except (ValueError, DecodeError) as error:
            log.warning("route_request_unreadable", reason=str(error))
            self._disconnect(connection)
            return
        number = data[:NUMBER]
        if self._table.short(request):
            self._answer(connection, number, self._table.apply_now(request))
        else:
            task = self._loop.create_task(self._serve_long(connection, number, request))
            self._long.add(task)
            task.add_done_callback(self._long.discard)

    async def _serve_long(
        self, connection: socket.socket, number: bytes, request: pb.ApplyRoutesRequest
    ) -> None:
        self._answer(connection, number, await self._table.ApplyRoutes(request, None))

    def _answer(self, connection: socket.socket, number: bytes, response: pb.ApplyRoutesResponse) -> None:
        try:
            connection.send(number + response.SerializeToString())
        except OSError as error:
            log.info("route_answer_lost", reason=str(error))
            self._disconnect(connection)

    def _disconnect(self, connection: socket.socket) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._loop.remove_reader(connection)
            connection.close()
