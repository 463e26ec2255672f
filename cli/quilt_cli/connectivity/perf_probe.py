"""Runs inside pods, by itself and on the standard library alone: `serve` answers, `measure` uses one path.

A connection begins with one byte. STREAM: the server reads until the client has sent all, and answers with
how many bytes came in how many seconds. ECHO: every message comes back. `measure` prints one JSON object as
its last line, with `error` where it did not come to an end.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import sys
import time
from typing import Any

STREAM, ECHO = b"s", b"e"
CHUNK = 1 << 18
MESSAGE = 64
BYTES_AT_MOST = 8 << 30
REQUESTS_AT_MOST = 10_000
SILENCE = 10.0
"""Seconds without a byte after which either side gives up."""
US = 1e6


class Handler(socketserver.BaseRequestHandler):
    """Serves one connection."""

    def handle(self) -> None:
        """Do what its first byte says."""
        self.request.settimeout(SILENCE)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            if self.request.recv(1) == STREAM:
                count(self.request)
            else:
                back(self.request)


class Server(socketserver.ThreadingTCPServer):
    """TCP on both families, where the kernel has both."""

    allow_reuse_address = True
    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET


def count(sock: socket.socket) -> None:
    """Read to the end; answer with bytes and seconds."""
    buffer, total, began = bytearray(CHUNK), 0, time.perf_counter()
    while got := sock.recv_into(buffer):
        total += got
    answer = {"bytes": total, "seconds": round(time.perf_counter() - began, 6)}
    sock.sendall(json.dumps(answer).encode())


def back(sock: socket.socket) -> None:
    """Send back what comes, until the client stops."""
    while message := sock.recv(MESSAGE):
        sock.sendall(message)


def connect(host: str, port: int, first: bytes) -> socket.socket:
    """A connection that has sent its first byte."""
    sock = socket.create_connection((host, port), SILENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(first)
    return sock


def stream(host: str, port: int, seconds: float) -> dict[str, Any]:
    """Send as fast as the path carries it, for so long or so many bytes; what the server counted."""
    chunk = bytes(CHUNK)
    with connect(host, port, STREAM) as sock:
        until = time.perf_counter() + seconds
        for _ in range(BYTES_AT_MOST // CHUNK):
            sock.sendall(chunk)
            if time.perf_counter() >= until:
                break
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as answer:
            found: dict[str, Any] = json.loads(answer.read() or b"{}")
    if "bytes" not in found:
        raise OSError("the server stopped before all had come")
    return found


def requests(host: str, port: int, seconds: float) -> dict[str, Any]:
    """Send small messages one after the other, for so long or so many; microseconds until each was back."""
    took: list[float] = []
    message = b"q" * MESSAGE
    with connect(host, port, ECHO) as sock, sock.makefile("rb") as answers:
        until = time.perf_counter() + seconds
        while len(took) < REQUESTS_AT_MOST and (began := time.perf_counter()) < until:
            sock.sendall(message)
            if answers.read(MESSAGE) != message:
                raise OSError("the server stopped before it had answered")
            took.append(US * (time.perf_counter() - began))
    took.sort()
    at = {"p50Us": len(took) // 2, "p99Us": len(took) * 99 // 100}
    return {"requests": len(took), **{name: round(took[index], 1) for name, index in at.items()}}


def measure(host: str, port: int, seconds: float) -> dict[str, Any]:
    """Both figures of one path; requests come first and find what a first packet waits for."""
    try:
        return {**requests(host, port, seconds), **stream(host, port, seconds)}
    except OSError as error:
        return {"error": str(error) or type(error).__name__}


def main() -> None:
    """`serve PORT`, or `measure HOST PORT SECONDS`."""
    if sys.argv[1] == "serve":
        host = "::" if Server.address_family == socket.AF_INET6 else ""
        Server((host, int(sys.argv[2])), Handler).serve_forever()
    else:
        found = measure(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
