"""Packets that are really sent: to and fro between two nodes' addresses inside the mesh, and to pods.

Both nodes run this side by side. Each packet says what its sender has received, so that each knows when both
directions are proven and need not send on. No privilege is needed.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from msgspec.structs import replace

from quilt_cli.core.trace.probed import Knock, Probed
from quilt_crds.names import TRACE_PORT

# linux/in.h and linux/in6.h: with DF, whatever is known of the path's MTU: what is too large shall be lost.
_MTU_DISCOVER = {
    socket.AF_INET: (socket.IPPROTO_IP, 10, 28),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 23, 48),
}
_PMTUDISC_PROBE = 3
# Seconds: between packets, for an answer to a knock, and from the proof until the peer has it too.
_EVERY = 0.1
_PATIENCE = 1.0
_LINGER = 0.6
_TRIES = 3
# Of each how many must have come, before nothing more needs to be proven.
_ENOUGH = 3
_ROOM = 65535
# Who refuses has been reached; nobody listens there.
_DISCARD = 9
_ICMP = {socket.AF_INET: (socket.IPPROTO_ICMP, 8), socket.AF_INET6: (socket.IPPROTO_ICMPV6, 128)}


def probe(own: str, peer: str, size: int, seconds: float, knocks: Sequence[str]) -> Probed:
    """Exchange packets with a peer, the large ones of `size` bytes, and knock at `tcp:80:10.42.2.5`."""
    with ThreadPoolExecutor(max_workers=len(knocks) + 1) as pool:
        answers = [pool.submit(knock, one) for one in knocks]
        found = exchange(own, peer, size, seconds) if peer else Probed()
        return replace(found, knocks=tuple(answer.result() for answer in answers))


class _Exchange:
    """One side: what it sent and received, small packets and such of full size."""

    def __init__(self, sock: socket.socket, peer: str, room: int) -> None:
        self._sock, self._peer, self._room = sock, peer, room
        self.sent, self.received = [0, 0], [0, 0]
        self.known = [0, 0]
        self.error = ""

    @property
    def proven(self) -> bool:
        """Whether both sides have received enough of both sizes."""
        return min(*self.received, *self.known) >= _ENOUGH

    def send(self, *, full: bool) -> None:
        """Send one packet, with what has come so far."""
        text = json.dumps({"full": full, "received": self.received}).encode()
        try:
            self._sock.sendto(text.ljust(self._room if full else 0), (self._peer, TRACE_PORT))
            self.error = self.error if full else ""
        except OSError as error:
            # Too large for the device, or no way there; an ICMP error of an earlier packet is one too.
            self.error = self.error if full else f"{error.strerror}"
        else:
            self.sent[full] += 1

    def receive(self, seconds: float) -> None:
        """Take what comes within so many seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and select.select([self._sock], [], [], left)[0]:
            try:
                data, source = self._sock.recvfrom(_ROOM)
                message = json.loads(data)
                full, known = bool(message["full"]), [int(count) for count in message["received"]]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if source[0] == self._peer and len(known) == 2:
                self.received[full] += 1
                self.known = known


def exchange(own: str, peer: str, size: int, seconds: float) -> Probed:
    """Send to a peer and receive from it until both directions are proven, or for so many seconds."""
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    level, discover, headers = _MTU_DISCOVER[family]
    began, proven = time.time(), 0.0
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(level, discover, _PMTUDISC_PROBE)
            sock.bind((own, TRACE_PORT))
        except OSError as error:
            why = "another trace runs" if error.errno == errno.EADDRINUSE else f"{error.strerror}"
            return Probed(error=f"{own}, UDP {TRACE_PORT}: {why}", began=began, ended=began)
        side = _Exchange(sock, peer, max(size - headers, 0))
        while (now := time.time()) < began + seconds and not (proven and now > proven + _LINGER):
            side.send(full=False)
            side.send(full=True)
            side.receive(_EVERY)
            proven = proven or (now if side.proven else 0.0)
    (small, full), (came, came_full) = side.sent, side.received
    return Probed(small, came, full, came_full, size, "" if small else side.error, began, time.time())


def knock(where: str) -> Knock:
    """Ask an address for an answer, `protocol:port:address`; what refuses has answered."""
    protocol, port, address = where.split(":", 2)
    number = int(port)
    ask = _ASK.get(protocol, _tcp) if number or protocol == "icmp" else _ASK["icmp"]
    detail = ""
    for _ in range(_TRIES):
        try:
            detail = ask(address, number)
        except TimeoutError:
            detail = "no answer"
        except OSError as error:
            detail = error.strerror or str(error)
        else:
            return Knock(address, protocol, number, True, detail)
    return Knock(address, protocol, number, False, detail)


def _tcp(address: str, port: int) -> str:
    try:
        socket.create_connection((address, port or _DISCARD), _PATIENCE).close()
    except ConnectionRefusedError:
        return "reached, nobody listens there" if port else "reached"
    return "connected"


def _udp(address: str, port: int) -> str:
    """A datagram: who does not listen says so by ICMP, and who does need not answer an empty one."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_PATIENCE)
        sock.connect((address, port))
        try:
            sock.send(b"")
            sock.recv(_ROOM)
        except ConnectionRefusedError:
            return "reached, nobody listens there"
        except TimeoutError:
            # Nothing came back, which tells nothing: whether the host itself is there does.
            return f"no answer, which a listener need not give; the address itself: {_ping(address, 0)}"
    return "answered"


def _ping(address: str, _: int) -> str:
    """An echo request where this process may send one, else a connection that is refused."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol, request = _ICMP[family]
    with suppress(PermissionError), socket.socket(family, socket.SOCK_DGRAM, protocol) as sock:
        sock.settimeout(_PATIENCE)
        sock.connect((address, 0))
        # Type, code, then checksum and identifier, which are the kernel's, and a number.
        sock.send(bytes([request, 0, 0, 0, 0, 0, 0, 1]) + b"quilt")
        sock.recv(_ROOM)
        return "answered"
    return _tcp(address, 0)


_ASK: dict[str, Callable[[str, int], str]] = {"tcp": _tcp, "udp": _udp, "icmp": _ping}
