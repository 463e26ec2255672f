"""Packets that nftables logs to a group (nfnetlink_log), as they are read from its socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Self

from quilt_netlink.channel import open_socket, walk
from quilt_netlink.constants import NETLINK_NETFILTER, NLM_F_REQUEST
from quilt_netlink.shapes import HEADER, attribute

# linux/netfilter/nfnetlink_log.h
_PACKET, _CONFIG = 0x400, 0x401
_PAYLOAD, _PREFIX = 9, 10
_CFG_CMD, _CFG_MODE = 1, 2
_BIND, _COPY_PACKET = 1, 2
_GENMSG = struct.Struct(">BBH")
_ATTRIBUTE = struct.Struct("=HH")
_PORTS = struct.Struct(">HH")
_WITH_PORTS = {6: "tcp", 17: "udp", 132: "sctp"}
_NAMES = {1: "icmp", 58: "icmpv6", **_WITH_PORTS}


@dataclass(frozen=True, slots=True)
class LoggedPacket:
    """`prefix` is the rule's; `port` is that of the destination, 0 where the protocol has none."""

    prefix: str
    source: str
    destination: str
    protocol: str
    port: int


class PacketLog:
    """One group of the calling thread's network namespace; its packets come to this socket alone."""

    def __init__(self, group: int, size: int, timeout_s: float) -> None:
        """Ask for `size` bytes of each packet; `receive` waits for `timeout_s` at most. Raises OSError."""
        self._socket = open_socket(NETLINK_NETFILTER)
        self._socket.settimeout(timeout_s)
        bind = attribute(_CFG_CMD, bytes([_BIND]))
        copy = attribute(_CFG_MODE, struct.pack(">IBx", size, _COPY_PACKET))
        body = _GENMSG.pack(socket.AF_UNSPEC, 0, group) + bind + copy
        self._socket.send(HEADER.pack(HEADER.size + len(body), _CONFIG, NLM_F_REQUEST, 0, 0) + body)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def receive(self) -> list[LoggedPacket]:
        """Wait for packets and return them; none after the time-out, or where the kernel dropped some."""
        try:
            data = memoryview(self._socket.recv(1 << 16))
        except OSError:
            return []
        parts = [data[start:end] for kind, _, _, start, end in walk(data, len(data)) if kind == _PACKET]
        return [packet for part in parts if (packet := _packet(part)) is not None]


def _packet(message: memoryview) -> LoggedPacket | None:
    """Read one message; None for a packet that is cut short or of no family that is known here."""
    found = dict(_attributes(message[HEADER.size + _GENMSG.size :]))
    prefix = bytes(found.get(_PREFIX, b"")).rstrip(b"\0").decode(errors="replace")
    ip = bytes(found.get(_PAYLOAD, b""))
    version = ip[0] >> 4 if ip else 0
    if version == 4 and len(ip) >= 20:
        length, number, addresses = (ip[0] & 15) * 4, ip[9], (ip[12:16], ip[16:20])
    elif version == 6 and len(ip) >= 40:
        length, number, addresses = 40, ip[6], (ip[8:24], ip[24:40])
    else:
        return None
    ports = ip[length : length + _PORTS.size]
    port = _PORTS.unpack(ports)[1] if number in _WITH_PORTS and len(ports) == _PORTS.size else 0
    source, destination = (str(ip_address(packed)) for packed in addresses)
    return LoggedPacket(prefix, source, destination, _NAMES.get(number, str(number)), port)


def _attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
