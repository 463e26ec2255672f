"""A Unix socket of root's alone, and the thread that accepts its connections until it is stopped, whatever
happens meanwhile.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from quilt_runtime.services.sockets import SocketFile

log = structlog.get_logger()

_UMASK = 0o177
RETRY_S = 0.2
"""After an accept() that failed, e.g. for want of descriptors: who connected waits in the backlog."""


class Acceptor:
    """Hands each connection to `serve`, which may raise but must not keep the thread."""

    def __init__(self, path: Path, serve: Callable[[socket.socket], object], name: str) -> None:
        self._file = SocketFile(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
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
