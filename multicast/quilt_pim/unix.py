"""Unix sockets that only some may talk to: placed safely, peers checked, connections bounded.

A socket is bound under a fresh name, given its mode, and renamed into place, so that there is no moment in
which others could connect, and a stopping predecessor never removes the successor's socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from quilt_log import log
from quilt_pim.counters import Counters

_MODE = 0o660
_UCRED = struct.Struct("=iII")
_SO_PEERGROUPS = 59
_MAX_CONNECTIONS = 128
_BACKLOG = 64
# Seconds in which a peer may read why it is not served.
_PARTING = 1.0

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who is at the other end, as the kernel says."""

    pid: int
    uid: int
    gids: frozenset[int]


def credentials(connection: socket.socket) -> Credentials:
    """Credentials of the process that connected (SO_PEERCRED), with its supplementary groups."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    groups: tuple[int, ...] = ()
    with contextlib.suppress(OSError):  # ERANGE: more groups than fit; the primary one still counts.
        more = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
        groups = struct.unpack(f"={len(more) // 4}I", more)
    return Credentials(pid, uid, frozenset((gid, *groups)))


def allowed(peer: Credentials, gid: int | None) -> bool:
    """Whether a peer may talk: root, the agent's own user, or a member of the configured group."""
    return peer.uid in (0, os.geteuid()) or (gid is not None and gid in peer.gids)


async def part(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> None:
    """Send a last message and let it arrive: closing on unread data would take it away from its reader."""
    writer.write(message)
    writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PARTING):
            while await reader.read(65536):
                pass


async def lines(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, too_long: Callable[[], bytes]
) -> AsyncIterator[bytes]:
    """The lines of a connection; the end of the stream ends one too; `too_long` answers one over the limit.

    What follows such a line cannot be separated from the rest of it, so the connection ends there.
    """
    while True:
        try:
            yield await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            if end.partial.strip():
                yield end.partial
            return
        except asyncio.LimitOverrunError:
            await part(reader, writer, too_long())
            return


class UnixServer:
    """Listens at a path; `serve` gets each connection of an allowed peer, `refuse` is what others are
    answered.

    `limit` is the longest line in bytes. OSError at start says which path cannot be had.
    """

    def __init__(
        self,
        path: str,
        serve: Serve,
        refuse: Callable[[str], bytes],
        counters: Counters,
        *,
        limit: int,
        gid: int | None,
    ) -> None:
        self.path = Path(path)
        self._serve = serve
        self._refuse = refuse
        self._counters = counters
        self._limit = limit
        self._gid = gid
        self._server: asyncio.Server | None = None
        self._inode = 0
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; the socket is at its path when this returns."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listener.bind(str(fresh))
            if self._gid is not None:
                os.chown(fresh, -1, self._gid)
            fresh.chmod(_MODE)
            listener.listen(_BACKLOG)
            self._inode = fresh.stat().st_ino
            fresh.rename(self.path)
            self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=self._limit)
        except OSError as error:
            listener.close()
            fresh.unlink(missing_ok=True)
            raise OSError(f"cannot listen on {self.path}: {error}") from error

    async def stop(self) -> None:
        """Stop listening, end all connections, and remove the socket unless a successor's is there."""
        if self._server is None:
            return
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._talk(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            refusal = self._refusal(writer)
            if refusal:
                await part(reader, writer, self._refuse(refusal))
            else:
                await self._serve(reader, writer)
        except (ConnectionError, TimeoutError):
            pass  # The other end went away.
        except Exception:
            log.exception("control_connection_failed", socket=str(self.path))
        finally:
            writer.close()

    def _refusal(self, writer: asyncio.StreamWriter) -> str:
        """Why a peer is not served; empty when it is."""
        peer = credentials(writer.get_extra_info("socket"))
        if not allowed(peer, self._gid):
            self._counters["peers_refused"] += 1
            log.warning("control_peer_refused", socket=str(self.path), uid=peer.uid, pid=peer.pid)
            return f"uid {peer.uid} may not use this socket; root or the configured group may"
        if len(self._connections) > _MAX_CONNECTIONS:
            self._counters["connections_refused"] += 1
            return f"there are {_MAX_CONNECTIONS} connections already"
        return ""
