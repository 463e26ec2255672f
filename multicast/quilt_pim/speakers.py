"""The interfaces that PIM is spoken on: sockets, our own Hellos, and new sockets when devices change."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from quilt_pim import interfaces
from quilt_pim.core.errors import ControlError
from quilt_pim.core.neighbors import DEFAULT_PRIORITY
from quilt_pim.core.pim import HELLO_PERIOD, HOLDTIME, Hello, build_hello
from quilt_pim.pim_socket import PimSocket

log = structlog.get_logger()

# RFC 7761 §4.11: a new router's first Hello, and the answer to one, come within this many seconds.
TRIGGERED = 5.0

# (interface, source address, destination address, PIM message)
Received = Callable[[str, str, str, bytes], None]


@dataclass(slots=True)
class Speaker:
    """PIM on one interface; `socket` is None while the interface is gone."""

    name: str
    priority: int
    passive: bool
    generation_id: int
    next_hello: float
    socket: PimSocket | None = None


class Speakers:
    """All of them; `received` gets every PIM packet with the interface it came in on."""

    def __init__(self, received: Received) -> None:
        self._received = received
        self._held: dict[str, Speaker] = {}

    def __len__(self) -> int:
        return len(self._held)

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
            held = Speaker(name, priority, passive, random.getrandbits(32), now)
            held.socket = self._open(found)
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
            generation = random.getrandbits(32)
            self._held[name] = Speaker(name, DEFAULT_PRIORITY, False, generation, now)

    def disable(self, name: str) -> None:
        """Say goodbye and stop."""
        held = self._held.pop(name, None)
        if held is None:
            raise ControlError(f"PIM is not enabled on {name!r}")
        self._say(held, holdtime=0)
        if held.socket is not None:
            held.socket.close()
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

    def next_tick(self, now: float) -> float | None:
        """When `tick` has something to do next; None while PIM is spoken nowhere."""
        if not self._held:
            return None
        # Devices are looked at this often too: a bound socket stays silent when its device is made again.
        hellos = [held.next_hello for held in self._held.values() if held.socket]
        return min([now + TRIGGERED, *hellos])

    def _look(self, held: Speaker) -> bool:
        try:
            found = interfaces.multicast(held.name)
        except ControlError as error:
            if held.socket is None:
                return False
            log.warning("pim_interface_gone", interface=held.name, error=str(error))
            held.socket.close()
            held.socket = None
            return True
        if held.socket is not None and held.socket.interface.index == found.index:
            return False
        had = held.socket is not None
        if held.socket is not None:
            held.socket.close()
            held.socket = None
        try:
            held.socket = self._open(found)
            held.next_hello = 0.0
            log.info("pim_interface_back", interface=held.name)
        except ControlError as error:
            log.debug("pim_waits", interface=held.name, error=str(error))
        return had

    def _open(self, found: interfaces.Interface) -> PimSocket:
        name = found.name
        return PimSocket(found, lambda source, to, message: self._received(name, source, to, message))

    def _say(self, held: Speaker, holdtime: int = HOLDTIME) -> None:
        if held.socket is None or held.passive:
            return
        try:
            held.socket.send(build_hello(Hello(holdtime, held.priority, held.generation_id)))
        except OSError as error:
            log.info("pim_hello_not_sent", interface=held.name, error=str(error))
