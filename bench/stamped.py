"""Both ends send every half millisecond and note when the kernel received what came from whom.

In a namespace: `python -m bench.stamped serve HOST PORT` (TCP and UDP), `… tcp|udp HOST PORT`. A line of
standard input is answered by what came since the last one, as JSON: by way (`udp 10.42.1.3`) how much, when
the last of it (nanoseconds of the real time clock) and the longest pause between two.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.support.namespaces import Namespace

PAUSE_S = 0.0005
_STAMPS = 35  # SO_TIMESTAMPNS
_TIME = struct.Struct("qq")


class Came(NamedTuple):
    """What came by one way since the last report; times in nanoseconds."""

    number: int
    last: int
    pause: int


class Stamped:
    """One end, in a namespace, until it is closed."""

    def __init__(self, pod: Namespace, *arguments: str) -> None:
        command = ["ip", "netns", "exec", pod.name, sys.executable, "-m", "bench.stamped", *arguments]
        pipe, root = subprocess.PIPE, Path(__file__).parents[1]
        self._process = subprocess.Popen(command, cwd=root, stdin=pipe, stdout=pipe, text=True)
        if self._line() != "ready":
            raise RuntimeError(f"{arguments} has no connection")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def report(self) -> dict[str, Came]:
        """What came since the last report, by way."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return {way: Came(*found) for way, found in json.loads(self._line()).items()}

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class _End:
    """What the process in the namespace does."""

    def __init__(self, mode: str, host: str, port: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._streams: dict[socket.socket, str] = {}
        self._peers: dict[str, Any] = {}
        self._came: dict[str, list[int]] = {}
        self._listener: socket.socket | None = None
        self._udp = self._watched(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        if mode == "serve":
            self._udp.bind((host, port))
            self._listener = self._watched(socket.create_server((host, port)))
        elif mode == "tcp":
            self._add_stream(socket.create_connection((host, port), 10), host)
        else:
            self._peers[f"udp {host}"] = (host, port)

    def run(self) -> None:
        """Send and receive until standard input ends."""
        due = time.monotonic()
        while True:
            for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
                if key.data is not None:
                    self._receive(key.data)
                elif sys.stdin.readline():
                    print(json.dumps(self._came), flush=True)
                    self._came = {}
                else:
                    return
            if time.monotonic() >= due:
                due = time.monotonic() + PAUSE_S
                self._send()

    def _watched(self, end: socket.socket) -> socket.socket:
        end.setsockopt(socket.SOL_SOCKET, _STAMPS, 1)
        self._selector.register(end, selectors.EVENT_READ, end)
        return end

    def _add_stream(self, stream: socket.socket, host: str) -> None:
        stream.setblocking(False)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._streams[self._watched(stream)] = f"tcp {host}"

    def _receive(self, end: socket.socket) -> None:
        if end is self._listener:
            stream, peer = end.accept()
            self._add_stream(stream, peer[0])
            return
        try:
            data, stamps, _, peer = end.recvmsg(65536, 64)
        except OSError:  # the other end reset it
            data, stamps, peer = b"", [], None
        if end is self._udp:
            way = f"udp {peer[0]}"
            self._peers[way] = peer
        else:
            way = self._streams[end]
            if not data:
                self._selector.unregister(end)
                del self._streams[end]
                return
        self._note(way, stamps)

    def _note(self, way: str, stamps: list[tuple[int, int, bytes]]) -> None:
        if not stamps:  # what came together with data that was read before
            return
        seconds, rest = _TIME.unpack(stamps[0][2])
        at = seconds * 1_000_000_000 + rest
        count, last, pause = self._came.get(way, (0, at, 0))
        self._came[way] = [count + 1, max(last, at), max(pause, at - last)]

    def _send(self) -> None:
        for stream in self._streams:
            with suppress(OSError):
                stream.send(b"x")
        for peer in self._peers.values():
            with suppress(OSError):
                self._udp.sendto(b"x", peer)


if __name__ == "__main__":
    _end = _End(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    print("ready", flush=True)
    os.nice(-10)
    _end.run()
