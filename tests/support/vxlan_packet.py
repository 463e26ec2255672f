"""VXLAN packets as a forger makes them: what the UDP datagram to the overlay's port carries."""

from __future__ import annotations

import socket
import struct

VNI = 100


def encapsulated(source: str, target: str, port: int, payload: bytes, *, mac: str, vni: int = VNI) -> bytes:
    """A pod's datagram from `source` to `target`, in a frame to the VXLAN device with the address `mac`."""
    datagram = struct.pack("!HHHH", 7000, port, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0) + addresses
    head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    frame = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("020000000900" + "0800")
    return struct.pack("!II", 0x08000000, vni << 8) + frame + head + datagram


def _checksum(head: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(head) // 2}H", head))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
