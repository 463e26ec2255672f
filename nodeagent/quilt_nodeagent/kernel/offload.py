"""The transmit checksum of a device, by the ethtool call of its driver."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Callable

_SIOCETHTOOL = 0x8946
_GET_TX_CHECKSUM, _SET_TX_CHECKSUM = 0x16, 0x17
_REQUEST = struct.Struct("16sP16x")


class TxChecksum:
    """Whether a device may be left to fill in checksums; raises OSError where the kernel refuses.

    `open_socket` opens any socket in the network namespace of the devices.
    """

    def __init__(self, open_socket: Callable[[], socket.socket] | None = None) -> None:
        self._open = open_socket or (lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def get(self, device: str) -> bool:
        """Return whether it is on."""
        return bool(self._call(device, _GET_TX_CHECKSUM, 0))

    def set(self, device: str, *, on: bool) -> None:
        """Switch it."""
        self._call(device, _SET_TX_CHECKSUM, int(on))

    def _call(self, device: str, command: int, value: int) -> int:
        answer = array.array("I", (command, value))
        request = _REQUEST.pack(device.encode()[:15], answer.buffer_info()[0])
        with self._open() as sock:
            fcntl.ioctl(sock, _SIOCETHTOOL, request)
        return answer[1]
