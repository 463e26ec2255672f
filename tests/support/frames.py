"""Frames made by hand, sent by a pod as it likes, and a look at what arrives in another one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address

from tests.support.namespaces import Namespace

PORT = 9999
BROADCAST = "ff:ff:ff:ff:ff:ff"
IP, ARP, IP6 = 0x0800, 0x0806, 0x86DD
_SEND = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
    sender.bind((sys.argv[1], 0))
    for frame in sys.stdin.read().split():
        sender.send(bytes.fromhex(frame))
"""
# Whatever comes in, on the link itself: what a word is written into counts as arrived.
_SPY = """
import re, socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as spy:
    spy.bind(("eth0", 0))
    spy.settimeout(30)
    print("ready", flush=True)
    while True:
        frame, address = spy.recvfrom(4096)
        if address[2] == socket.PACKET_OUTGOING:
            continue
        for word in re.findall(rb"<([^>]+)>", frame):
            print(word.decode(), flush=True)
            if word == b"end":
                sys.exit()
"""


def mac_of(address: str) -> str:
    """The MAC that a pod has by default."""
    return "0a:58:" + IPv4Address(address).packed.hex(":")


def ethernet(to: str, source: str, kind: int, payload: bytes) -> bytes:
    return _mac(to) + _mac(source) + kind.to_bytes(2) + payload


def datagram(source: str, to: str, word: str) -> bytes:
    """An IP packet of either family that carries `<word>` over UDP."""
    text = f"<{word}>".encode()
    udp = PORT.to_bytes(2) * 2 + (8 + len(text)).to_bytes(2)
    if ":" in source:
        body = udp + bytes(2) + text
        return ip6(source, to, 17, udp + _checksum(_pseudo(source, to, 17, len(body)) + body) + text)
    return _ip(source, to, 17, udp + bytes(2) + text)


def sctp(source: str, to: str, ports: tuple[int, int], kind: int) -> bytes:
    """An IPv4 packet with one chunk of SCTP: INIT (1) or INIT ACK (2), RFC 9260, 3.3.2 and 3.3.3."""
    chunk = bytes([kind, 0, 0, 20]) + (7).to_bytes(4) + (65536).to_bytes(4) + b"\0\1\0\1" + (1).to_bytes(4)
    head = b"".join(port.to_bytes(2) for port in ports) + (0 if kind == 1 else 7).to_bytes(4)
    return _ip(source, to, 132, head + _crc32c(head + bytes(4) + chunk).to_bytes(4, "little") + chunk)


def ip6(source: str, to: str, protocol: int, body: bytes) -> bytes:
    head = b"\x60\0\0\0" + len(body).to_bytes(2) + bytes([protocol, 255])
    return head + IPv6Address(source).packed + IPv6Address(to).packed + body


def arp_reply(mac: str, address: str, to_mac: str, to: str) -> bytes:
    """`address` is at `mac`."""
    target = _mac(to_mac) + IPv4Address(to).packed
    return b"\0\1\x08\0\6\4\0\2" + _mac(mac) + IPv4Address(address).packed + target


def advertisement(source: str, to: str, target: str, mac: str) -> bytes:
    """Neighbor advertisement with the override flag: `target` is at `mac` (RFC 4861, 4.4)."""
    return _icmp6(source, to, 136, b"\x20\0\0\0" + IPv6Address(target).packed + b"\2\1" + _mac(mac))


def router_advertisement(source: str, to: str, mac: str) -> bytes:
    """`source` is a router for everything (RFC 4861, 4.2)."""
    return _icmp6(source, to, 134, b"\x40\0\x07\x08" + bytes(8) + b"\1\1" + _mac(mac))


def send(namespace: Namespace, frames: Sequence[bytes], device: str = "eth0") -> None:
    text = "\n".join(frame.hex() for frame in frames)
    namespace.run("python3", "-c", _SEND, device, stdin=text)


@contextmanager
def spying(namespace: Namespace) -> Iterator[list[str]]:
    """Collect the words that arrive in a pod until `end` does: the list is whole when the block is left."""
    words: list[str] = []
    command = ["ip", "netns", "exec", namespace.name, "python3", "-c", _SPY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as spy:
        assert spy.stdout is not None
        try:
            assert spy.stdout.readline() == "ready\n"
            yield words
            words += spy.stdout.read().split()
            assert "end" in words, words
        finally:
            spy.kill()


def _ip(source: str, to: str, protocol: int, body: bytes) -> bytes:
    addresses = IPv4Address(source).packed + IPv4Address(to).packed
    head = b"\x45\0" + (20 + len(body)).to_bytes(2) + b"\0\1\0\0\x40" + bytes([protocol])
    return head + _checksum(head + bytes(2) + addresses) + addresses + body


def _icmp6(source: str, to: str, kind: int, rest: bytes) -> bytes:
    head = bytes([kind, 0])
    checksum = _checksum(_pseudo(source, to, 58, len(rest) + 4) + head + bytes(2) + rest)
    return ip6(source, to, 58, head + checksum + rest)


def _pseudo(source: str, to: str, protocol: int, length: int) -> bytes:
    addresses = IPv6Address(source).packed + IPv6Address(to).packed
    return addresses + length.to_bytes(4) + bytes([0, 0, 0, protocol])


def _checksum(data: bytes) -> bytes:
    padded = data + bytes(len(data) & 1)
    total = sum(int.from_bytes(padded[at : at + 2]) for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ((~total & 0xFFFF) or 0xFFFF).to_bytes(2)


def _crc32c(data: bytes) -> int:
    """The checksum of SCTP (RFC 9260, appendix A)."""
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (0x82F63B78 if found & 1 else 0)
    return found ^ 0xFFFFFFFF


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
