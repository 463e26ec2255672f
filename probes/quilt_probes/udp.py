"""The socket of the probes: from VTEP address to VTEP address, with the kernel's time of arrival."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator

from quilt_crds.names import PROBES_PORT
from quilt_probes.core.wire import SIZE

MakeSocket = Callable[[], socket.socket]
# asm-generic/socket.h; Python has no name for it. The kernel stamps with the wall clock.
_SO_TIMESTAMPNS = 35
# in.h: with DF, whatever the kernel has learned of the path's MTU: what is too large shall be lost.
_IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE = 10, 3
_IP_FREEBIND = 15
_STAMP = struct.Struct("@qq")
_ROOM = socket.CMSG_SPACE(_STAMP.size)
# A node is sent some tens a second; what is more is not read in the same tick.
_AT_ONCE = 2048


def udp_socket() -> socket.socket:
    """Make the socket, in the caller's network namespace."""
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


class Udp:
    """Bound to the VTEP address `vtep`; OSError where that cannot be. Nothing here waits."""

    def __init__(self, vtep: str, make_socket: MakeSocket) -> None:
        self._sock = make_socket()
        try:
            self._sock.setblocking(False)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._sock.setsockopt(socket.SOL_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
            # The device may be made again at any time.
            self._sock.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
            self._sock.bind((vtep, PROBES_PORT))
        except OSError:
            self._sock.close()
            raise

    def send(self, vtep: str, data: bytes) -> bool:
        """Send a datagram to a peer; False where the kernel refuses it: it is lost like any other."""
        try:
            self._sock.sendto(data, (vtep, PROBES_PORT))
        except OSError:
            return False
        return True

    def received(self) -> Iterator[tuple[str, bytes, int]]:
        """Yield what has come: address, the datagram without padding, time of arrival (ns, wall clock)."""
        for _ in range(_AT_ONCE):
            try:
                data, ancillary, _flags, (source, _port) = self._sock.recvmsg(SIZE, _ROOM)
            except BlockingIOError:
                return
            except OSError:
                continue  # An ICMP error of an earlier datagram.
            yield source, data, _stamp(ancillary)

    def close(self) -> None:
        """Send and receive no more."""
        self._sock.close()


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _STAMP.size:
            seconds, nanoseconds = _STAMP.unpack_from(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()
