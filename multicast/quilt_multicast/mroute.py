"""The kernel's IPv4 multicast routing table, through the one socket that may own it (ip_mroute interface).

The table lives exactly as long as the socket: a process that opens it starts from nothing, and nobody else
can write it. Where the kernel has several tables the mesh's is one of its own, so that a multicast router of
the administrator's keeps the default one; packets get there by rules on their interface.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from dataclasses import dataclass
from typing import Self

from quilt_crds.names import MULTICAST_TABLE

# include/uapi/linux/mroute.h
_MRT_INIT, _MRT_ADD_VIF, _MRT_DEL_VIF, _MRT_ADD_MFC, _MRT_DEL_MFC, _MRT_TABLE = 200, 202, 203, 204, 205, 209
_VIFF_USE_IFINDEX = 8
_SIOCGETSGCNT = 0x89E1
_VIFCTL = struct.Struct("=HBBIi4x")
_MFCCTL = struct.Struct("=4s4sH32s2xIIIi")
_UPCALL = struct.Struct("=8xBBBB4s4s")
_COUNT = struct.Struct("@4s4sLLL")
_QUEUE = 1 << 20

OWN_TABLE = MULTICAST_TABLE
DEFAULT_TABLE = 253

NO_ENTRY = 1
"""Upcall: packets of a source and group came in that the table has no entry for."""


class MrouteError(Exception):
    """The table cannot be had or written; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Upcall:
    """What the kernel asks: `kind` NO_ENTRY and others, `vif` where the packet came in."""

    kind: int
    vif: int
    source: str
    group: str


@dataclass(frozen=True, slots=True)
class FlowCounters:
    """What a flow has forwarded, and what of it came in by another interface than its entry's."""

    source: str
    group: str
    packets: int
    bytes: int
    wrong_interface: int


class MulticastTable:
    """One multicast routing table. Every write raises MrouteError."""

    def __init__(self, sock: socket.socket, table: int) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.table = table

    @classmethod
    def open(cls) -> Self:
        """Become the owner of a table: one of our own, or the default one where the kernel has no other."""
        try:
            sock = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_IGMP)
        except OSError as error:
            raise MrouteError(
                f"Cannot open the multicast routing socket: {error.strerror}; the agent needs the "
                "capabilities NET_ADMIN and NET_RAW, which the chart adds with network.multicast.enabled."
            ) from error
        try:
            table = _choose(sock)
            sock.setsockopt(socket.IPPROTO_IP, _MRT_INIT, 1)
        except OSError as error:
            sock.close()
            raise _refused(error) from error
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE)
        return cls(sock, table)

    @classmethod
    def adopt(cls, descriptor: int) -> Self:
        """Go on with our own table, whose socket a predecessor had; owns the descriptor from now on."""
        return cls(socket.socket(fileno=descriptor), OWN_TABLE)

    def fileno(self) -> int:
        """Descriptor that becomes readable with upcalls."""
        return self._sock.fileno()

    def close(self) -> None:
        """Give the table up: the kernel empties it."""
        self._sock.close()

    def add_interface(self, vif: int, ifindex: int) -> None:
        """Make the interface with this index number `vif` (0 to 31) of the table; done already is success."""
        self._set(_MRT_ADD_VIF, _VIFCTL.pack(vif, _VIFF_USE_IFINDEX, 1, 0, ifindex), (errno.EADDRINUSE,))

    def remove_interface(self, vif: int) -> None:
        """Take an interface out; not there is success."""
        self._set(_MRT_DEL_VIF, _VIFCTL.pack(vif, 0, 0, 0, 0), (errno.EADDRNOTAVAIL,))

    def put(self, source: str, group: str, iif: int, oifs: frozenset[int]) -> None:
        """Forward what comes from `source` to `group` by interface `iif` to `oifs`; without any: drop it."""
        ttls = bytearray(32)
        for oif in oifs:
            ttls[oif] = 1
        self._set(_MRT_ADD_MFC, _entry(source, group, iif, bytes(ttls)))

    def remove(self, source: str, group: str) -> None:
        """Forget an entry; not there is success."""
        self._set(_MRT_DEL_MFC, _entry(source, group, 0, bytes(32)), (errno.ENOENT,))

    def counters(self, source: str, group: str) -> FlowCounters | None:
        """Return what an entry has counted; None when it is not there."""
        request = _COUNT.pack(socket.inet_aton(source), socket.inet_aton(group), 0, 0, 0)
        try:
            answer = fcntl.ioctl(self._sock.fileno(), _SIOCGETSGCNT, request)
        except OSError:
            return None
        return FlowCounters(source, group, *_COUNT.unpack(answer)[2:])

    def upcalls(self, limit: int = 256) -> list[Upcall]:
        """Return what the kernel asks, without waiting; at most so many datagrams are read."""
        found: list[Upcall] = []
        for _ in range(limit):
            try:
                data = self._sock.recv(2048)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    continue
                raise
            if len(data) < _UPCALL.size:
                continue
            kind, zero, low, high, source, group = _UPCALL.unpack_from(data)
            # Real IGMP packets come here too; their protocol field, which is here, is not zero.
            if not zero:
                found.append(Upcall(kind, low | high << 8, socket.inet_ntoa(source), socket.inet_ntoa(group)))
        return found

    def _set(self, option: int, value: bytes, fine: tuple[int, ...] = ()) -> None:
        try:
            self._sock.setsockopt(socket.IPPROTO_IP, option, value)
        except OSError as error:
            if error.errno not in fine:
                raise MrouteError(f"Multicast routing table {self.table}: {error.strerror}") from error


def _choose(sock: socket.socket) -> int:
    try:
        sock.setsockopt(socket.IPPROTO_IP, _MRT_TABLE, struct.pack("=I", OWN_TABLE))
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return DEFAULT_TABLE
        raise
    return OWN_TABLE


def _entry(source: str, group: str, iif: int, ttls: bytes) -> bytes:
    return _MFCCTL.pack(socket.inet_aton(source), socket.inet_aton(group), iif, ttls, 0, 0, 0, 0)


def _refused(error: OSError) -> MrouteError:
    if error.errno == errno.EADDRINUSE:
        text = (
            "Another program owns the multicast routing table (a multicast router such as smcroute or pimd, "
            "or another quilt-agent): stop it, or give it another table; see docs/multicast.md."
        )
    elif error.errno == errno.ENOPROTOOPT:
        text = "This kernel has no IPv4 multicast routing (CONFIG_IP_MROUTE)."
    else:
        text = f"Cannot take the multicast routing table: {error.strerror}."
    return MrouteError(text)
