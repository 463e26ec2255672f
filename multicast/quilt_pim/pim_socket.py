"""A raw socket for PIM on one interface: what comes in for all PIM routers, and our own Hellos out."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from quilt_pim.core.errors import ControlError
from quilt_pim.interfaces import Interface

IPPROTO_PIM = 103
ALL_PIM_ROUTERS = "224.0.0.13"
# linux/in.h; Python names only some of them.
_IP_MULTICAST_ALL = 49
# Internetwork control, as routing protocols mark their packets.
_TOS = 0xC0
_MREQN = struct.Struct("=4s4si")
_BURST = 64
_MAX_PACKET = 65535

# (source address, destination address, PIM message)
Received = Callable[[str, str, bytes], None]


class PimSocket:
    """Listens on one interface until closed; ControlError says what is missing when it cannot."""

    def __init__(self, interface: Interface, received: Received) -> None:
        self.interface = interface
        self._received = received
        self._socket = _open(interface)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def send(self, message: bytes) -> None:
        """Send a message to all PIM routers on the link; OSError as the kernel says."""
        self._socket.sendto(message, (ALL_PIM_ROUTERS, 0))

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        # A bounded burst: the rest makes the loop come back after others had their turn.
        for _ in range(_BURST):
            try:
                packet = self._socket.recv(_MAX_PACKET)
            except OSError:
                return  # Nothing more, or the interface went: the owner looks at it regularly.
            parts = split(packet)
            if parts is not None:
                self._received(*parts)


def split(packet: bytes) -> tuple[str, str, bytes] | None:
    """Source, destination and payload of an IPv4 packet of protocol PIM; None when it is not one."""
    if len(packet) < 20 or packet[0] >> 4 != 4 or packet[9] != IPPROTO_PIM:
        return None
    header = (packet[0] & 0x0F) * 4
    if header < 20 or len(packet) < header:
        return None
    return socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]), packet[header:]


def _open(interface: Interface) -> socket.socket:
    try:
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, IPPROTO_PIM)
    except PermissionError as error:
        raise ControlError("PIM needs the capability NET_RAW; set agent.netRaw=true in the chart") from error
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.name.encode() + b"\0")
        request = _MREQN.pack(socket.inet_aton(ALL_PIM_ROUTERS), bytes(4), interface.index)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        made.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _TOS)
    except OSError as error:
        made.close()
        raise ControlError(f"PIM cannot be received on {interface.name}: {error.strerror}") from error
    return made
