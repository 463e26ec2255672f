"""Where the services listen: Unix sockets that only root's group can reach, and TCP.

Plain text is spoken on loopback alone.
A socket is bound under a fresh name and then renamed into place: a stopping predecessor that unlinks "its"
path can so never take the successor's away, and there is no moment without a socket.
Connections are accepted until that is stopped, whatever happens to one of them or to accept() itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from quilt_log import log
from quilt_runtime.core.errors import RequestError

_UCRED = struct.Struct("=iII")
_UMASK = 0o177
RETRY_S = 0.2
"""After an accept() that failed, e.g. for want of descriptors: who connected waits in the backlog."""


def parse_tcp(text: str) -> tuple[str, int]:
    """Return (host, port) of `127.0.0.1:50051`, `[::1]:50051`; raises RequestError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise RequestError(f"Address {text!r}: write an IPv6 address in brackets, as in [::1]:50051")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise RequestError(f"Address {text!r} must be HOST:PORT, as in 127.0.0.1:50051")
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise RequestError(
            f"Address {text!r}: {host!r} is not an IP address; use 127.0.0.1 or [::1]"
        ) from error
    return str(address), int(port)


def require_loopback(host: str, port: int) -> None:
    """Raise RequestError for an address that plain text must not be spoken on."""
    if not ipaddress.ip_address(host).is_loopback:
        raise RequestError(
            f"Address '{joined(host, port)}' is not loopback, and a client of the runtime may change this "
            "host's routes: use 127.0.0.1 or [::1], or mutual TLS with --tls-cert, --tls-key, --tls-client-ca"
        )


def joined(host: str, port: int) -> str:
    """Return host and port as one text, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def until_free(host: str, port: int, seconds: float) -> None:
    """Wait until nobody has the TCP address, but no longer than so many seconds.

    A pod deleted by force is replaced while its programs still die.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline, logged = time.monotonic() + seconds, False
    while time.monotonic() < deadline:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    if not logged:
                        log.info("waits_for_port", address=joined(host, port), seconds=seconds)
                    logged = True
                    await asyncio.sleep(0.1)
                    continue
        return


def peer_uid(connection: socket.socket) -> int:
    """Return the user that a Unix socket's other end was connected by."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[1])


class SocketFile:
    """A Unix socket's place in the file system."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fresh = path.with_name(f".{path.name}.{os.getpid()}")
        self._inode = 0

    @contextlib.contextmanager
    def binding(self, umask: int) -> Iterator[Path]:
        """Bind inside this to the path given; afterwards the socket is at its final path."""
        self.fresh.unlink(missing_ok=True)
        before = os.umask(umask)
        try:
            yield self.fresh
        finally:
            os.umask(before)
        self._inode = self.fresh.stat().st_ino
        self.fresh.rename(self.path)

    def remove(self) -> None:
        """Remove the socket unless a successor's is there by now."""
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()


class Acceptor:
    """Hands each connection to `serve`, which may raise but must not keep the thread."""

    def __init__(
        self,
        path: Path,
        serve: Callable[[socket.socket], object],
        name: str,
        kind: socket.SocketKind = socket.SOCK_STREAM,
    ) -> None:
        self._file = SocketFile(path)
        self._listener = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
        self._serve = serve
        self._stopping = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, backlog: int) -> None:
        """Listen and begin to accept; the socket is at its path when this returns."""
        with self._file.binding(_UMASK) as path:
            self._listener.bind(str(path))
            self._listener.listen(backlog)
        self._thread.start()

    def stop(self) -> None:
        """Accept nothing more; what is being served in the thread is finished when this returns."""
        self._file.remove()
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def wrong(self) -> list[str]:
        """Return what speaks against this being alive: it has ended without a request to stop."""
        dead = not self._thread.is_alive() and not self._stopping.is_set()
        return [f"the thread {self._thread.name} has ended; the log has the reason"] if dead else []

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                self._note(error)
                self._stopping.wait(RETRY_S)
                continue
            self._note(None)
            try:
                self._serve(connection)
            except Exception:
                log.exception("connection_failed", thread=self._thread.name)

    def _note(self, error: OSError | None) -> None:
        """Say that accepting fails, or succeeds again, once."""
        if self._failed == (error is not None) or self._stopping.is_set():
            return
        self._failed = error is not None
        if error is not None:
            log.error("accept_failed", thread=self._thread.name, reason=str(error), again_in_s=RETRY_S)
        else:
            log.info("accept_recovered", thread=self._thread.name)
