"""The interfaces that PIM is spoken on: raw sockets, our own Hellos, and new sockets when devices change."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from quilt_log import log
from quilt_pim import interfaces
from quilt_pim.core.neighbors import DEFAULT_PRIORITY
from quilt_pim.core.pim import HELLO_PERIOD, HOLDTIME, Hello, build_hello
from quilt_pim.core.validate import ControlError

# RFC 7761 §4.11: a new router's first Hello, and the answer to one, come within this many seconds.
TRIGGERED = 5.0

IPPROTO_PIM = 103
ALL_PIM_ROUTERS = "224.0.0.13"
# linux/in.h; Python names only some of them.
_IP_MULTICAST_ALL = 49
# Internetwork control, as routing protocols mark their packets.
_TOS = 0xC0
_MREQN = struct.Struct("=4s4si")
_BURST = 64
_MAX_PACKET = 65535

Received = Callable[[str, str, str, bytes], None]
"""(interface, source address, destination address, PIM message)."""


@dataclass(slots=True)
class Speaker:
    """PIM on one interface; `socket` is None while the interface is gone."""

    name: str
    next_hello: float
    priority: int = DEFAULT_PRIORITY
    passive: bool = False
    socket: PimSocket | None = None
    generation_id: int = field(default_factory=lambda: random.getrandbits(32))

    def silence(self) -> bool:
        """Close the socket; whether there was one."""
        made, self.socket = self.socket, None
        if made is not None:
            made.close()
        return made is not None


class Speakers:
    """All of them; `received` gets every PIM packet with the interface it came in on."""

    def __init__(self, received: Received) -> None:
        self._received = received
        self._held: dict[str, Speaker] = {}

    def names(self) -> list[str]:
        """Interfaces that PIM is spoken on."""
        return sorted(self._held)

    def get(self, name: str) -> Speaker | None:
        """The speaker of an interface."""
        return self._held.get(name)

    def enable(
        self, name: str, now: float, priority: int = DEFAULT_PRIORITY, *, passive: bool = False
    ) -> None:
        """Speak PIM on an interface, or change how; ControlError when it is not possible there."""
        found = interfaces.multicast(name)
        if found.address is None and not passive:
            raise ControlError(f"Interface {name!r} has no IPv4 address to send Hellos from; give it one")
        held = self._held.get(name)
        if held is None:
            held = Speaker(name, now, priority, passive, PimSocket(found, self._received))
            self._held[name] = held
            log.info("pim_enabled", interface=name, passive=passive, dr_priority=priority)
        if passive and not held.passive:
            self._say(held, holdtime=0)
        held.priority, held.passive, held.next_hello = priority, passive, now

    def want(self, name: str, now: float) -> None:
        """Speak PIM on an interface from the configuration, as soon as it can be."""
        try:
            self.enable(name, now)
        except ControlError as error:
            log.warning("pim_waits", interface=name, error=str(error))
            self._held[name] = Speaker(name, now)

    def disable(self, name: str) -> None:
        """Say goodbye and stop."""
        held = self._held.pop(name, None)
        if held is None:
            raise ControlError(f"PIM is not enabled on {name!r}")
        self._say(held, holdtime=0)
        held.silence()
        log.info("pim_disabled", interface=name)

    def close(self) -> None:
        """Say goodbye everywhere and stop."""
        for name in self.names():
            self.disable(name)

    def hello_soon(self, name: str, now: float) -> None:
        """Let a router that is new on the link know of us before the next regular Hello."""
        held = self._held.get(name)
        if held is not None:
            held.next_hello = min(held.next_hello, now + random.uniform(0, TRIGGERED))  # noqa: S311 - spreads load

    def tick(self, now: float) -> list[str]:
        """Re-open what changed and send the Hellos that are due; names of interfaces that went away."""
        gone = [held.name for held in self._held.values() if self._look(held)]
        for held in self._held.values():
            if held.socket is not None and held.next_hello <= now:
                self._say(held)
                held.next_hello = now + HELLO_PERIOD
        return gone

    def next_tick(self, now: float) -> float:
        """When `tick` has something to do next; inf while PIM is spoken nowhere."""
        if not self._held:
            return inf
        # Devices are looked at this often too: a bound socket stays silent when its device is made again.
        hellos = [held.next_hello for held in self._held.values() if held.socket]
        return min([now + TRIGGERED, *hellos])

    def _look(self, held: Speaker) -> bool:
        try:
            found = interfaces.multicast(held.name)
        except ControlError as error:
            gone = held.silence()
            if gone:
                log.warning("pim_interface_gone", interface=held.name, error=str(error))
            return gone
        if held.socket is not None and held.socket.interface.index == found.index:
            return False
        gone = held.silence()
        try:
            held.socket = PimSocket(found, self._received)
            held.next_hello = 0.0
            log.info("pim_interface_back", interface=held.name)
        except ControlError as error:
            log.debug("pim_waits", interface=held.name, error=str(error))
        return gone

    def _say(self, held: Speaker, holdtime: int = HOLDTIME) -> None:
        if held.socket is None or held.passive:
            return
        try:
            held.socket.send(build_hello(Hello(holdtime, held.priority, held.generation_id)))
        except OSError as error:
            log.info("pim_hello_not_sent", interface=held.name, error=str(error))


class PimSocket:
    """Listens on one interface until closed; ControlError says what is missing when it cannot."""

    def __init__(self, interface: interfaces.Interface, received: Received) -> None:
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
                self._received(self.interface.name, *parts)


def split(packet: bytes) -> tuple[str, str, bytes] | None:
    """Source, destination and payload of an IPv4 packet of protocol PIM; None when it is not one."""
    if len(packet) < 20 or packet[0] >> 4 != 4 or packet[9] != IPPROTO_PIM:
        return None
    header = (packet[0] & 0x0F) * 4
    if header < 20 or len(packet) < header:
        return None
    return socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20]), packet[header:]


def _open(interface: interfaces.Interface) -> socket.socket:
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
