"""Runs inside pods, by itself and on the standard library alone: `serve` answers, `ask` asks everybody.

TCP: what is sent comes back, 64 KiB each way, so that packets of full size travel in both directions. UDP:
one datagram of exactly the path's MTU, forbidden to be fragmented, comes back. `ask` reads a JSON list of
targets in QUILT_TARGETS and prints one JSON list as its last line.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import socket
import socketserver
import sys
import time
from typing import Any

TCP_BYTES = 65536
TIMEOUT = 2.0
# linux/in.h, which Python's socket module does not name.
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14
IPV6_MTU_DISCOVER, IPV6_MTU = 23, 24


class TcpEcho(socketserver.BaseRequestHandler):
    """Sends back what comes, until the other side stops."""

    def handle(self) -> None:
        """Serve one connection."""
        self.request.settimeout(10)
        with contextlib.suppress(OSError):
            while chunk := self.request.recv(65536):
                self.request.sendall(chunk)


class UdpEcho(socketserver.BaseRequestHandler):
    """Sends each datagram back."""

    def handle(self) -> None:
        """Serve one datagram."""
        data, sock = self.request
        with contextlib.suppress(OSError):
            sock.sendto(data, self.client_address)


class TcpServer(socketserver.ThreadingTCPServer):
    """TCP on both families, where the kernel has both."""

    allow_reuse_address = True
    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET


class UdpServer(socketserver.UDPServer):
    """UDP likewise; a datagram is answered before the next is read."""

    max_packet_size = 65535
    address_family = TcpServer.address_family


def serve(port: int) -> None:
    """Answer for ever."""
    host = "::" if TcpServer.address_family == socket.AF_INET6 else ""
    udp = UdpServer((host, port), UdpEcho)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(udp.serve_forever)
        TcpServer((host, port), TcpEcho).serve_forever()


def tcp(host: str, port: int) -> dict[str, Any]:
    """Send 64 KiB to an address or a name, take them back; milliseconds that the connection took."""
    began = time.monotonic()
    with socket.create_connection((host, port), TIMEOUT) as sock:
        took = (time.monotonic() - began) * 1000
        sock.settimeout(TIMEOUT)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            sending = pool.submit(sock.sendall, b"q" * TCP_BYTES)
            with sock.makefile("rb") as stream:
                left = TCP_BYTES - len(stream.read(TCP_BYTES))
            if left:
                raise OSError(f"closed with {left} bytes to come")
            sending.result()
    return {"ms": round(took, 2)}


def udp(host: str, port: int) -> dict[str, Any]:
    """Send one datagram of the path's MTU and take it back; its size as an IP packet."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    level, discover, mtu, headers = (
        (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_MTU, 48)
        if family == socket.AF_INET6
        else (socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_MTU, 28)
    )
    began = time.monotonic()
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect((host, port))
        sock.setsockopt(level, discover, IP_PMTUDISC_DO)
        size = sock.getsockopt(level, mtu)
        payload = b"q" * (min(size, 65535) - headers)
        sock.send(payload)
        if sock.recv(65535) != payload:
            raise OSError("another datagram came back")
    return {"ms": round((time.monotonic() - began) * 1000, 2), "mtu": size}


def knock(host: str, port: int) -> dict[str, Any]:
    """Any answer of the host counts, also that nobody listens there."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection((host, port), TIMEOUT).close()
    return {"ms": round((time.monotonic() - began) * 1000, 2)}


WAYS = {"tcp": tcp, "udp": udp, "knock": knock, "name": tcp}


def ask(target: dict[str, Any], attempts: int) -> dict[str, Any]:
    """One target's result; a first try may meet an entry that is just being made, so there are several."""
    error = ""
    for attempt in range(attempts):
        try:
            result = WAYS[target["way"]](target["host"], target["port"])
            return {**target, "ok": True, "attempts": attempt + 1, **result}
        except OSError as caught:
            error = str(caught) or type(caught).__name__
            time.sleep(0.2)
    return {**target, "ok": False, "attempts": attempts, "error": error}


def main() -> None:
    """`serve PORT`, or `ask`."""
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]))
        return
    targets = json.loads(os.environ["QUILT_TARGETS"])
    attempts = int(os.environ.get("QUILT_ATTEMPTS", "3"))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda target: ask(target, attempts), targets))
    sys.stdout.write(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
