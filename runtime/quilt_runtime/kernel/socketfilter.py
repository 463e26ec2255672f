"""Classic BPF on a socket: the kernel drops what is to wake nobody (Documentation/networking/filter)."""

from __future__ import annotations

import array
import socket
import struct
import sys
from collections.abc import Iterable

_SO_ATTACH_FILTER = 26
LOAD_WORD, LOAD_HALF, LOAD_BYTE, JUMP_EQUAL, RETURN = 0x20, 0x28, 0x30, 0x15, 0x06
DROP, KEEP = (RETURN, 0, 0, 0), (RETURN, 0, 0, 0xFFFFFFFF)
Instruction = tuple[int, int, int, int]
"""Operation; how many instructions to skip when true, and when false; operand."""


def attach(sock: socket.socket, program: Iterable[Instruction]) -> None:
    """Let a program decide on each datagram of a socket."""
    code = array.array("B", b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    address, size = code.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", size // 8, address))


def as_loaded(value: int, size: int) -> int:
    """A number of this host's byte order as a program sees it that loads it in network byte order."""
    return int.from_bytes(value.to_bytes(size, sys.byteorder), "big")
