"""What policies deny, in the log: for people who ask which rule it is that denies."""

from __future__ import annotations

import threading
import time
from ipaddress import ip_address

from quilt_log import log
from quilt_runtime.addresses import Addresses
from quilt_runtime.core.policy import HEADERS, LOG_GROUP
from quilt_runtime.kernel.packetlog import LoggedPacket, PacketLog

# Lines a second at most: each rule is limited by itself, and a node can have many.
_MOST = 50
_TIMEOUT_S = 1.0


class Denials:
    """Logs denied packets while that is wanted, with the names of this node's pods."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._wanted = False
        self._thread: threading.Thread | None = None

    def follow(self, wanted: bool) -> None:
        """Begin, or end within a second."""
        self._wanted = wanted
        if wanted and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._run, name="denials", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        second, lines = 0, 0
        try:
            with PacketLog(LOG_GROUP, HEADERS, _TIMEOUT_S) as packets:
                while self._wanted:
                    for packet in packets.receive():
                        now = int(time.monotonic())
                        second, lines = (now, 1) if now != second else (second, lines + 1)
                        if lines <= _MOST:
                            self._tell(packet)
        except OSError as error:
            log.warning("denials_not_logged", error=str(error))

    def _tell(self, packet: LoggedPacket) -> None:
        reason, _, rule = packet.prefix.partition(" ")
        log.info(
            "policy_denied",
            reason=reason,
            source=self._named(packet.source),
            destination=self._named(packet.destination),
            protocol=packet.protocol,
            port=packet.port,
            rule=rule or "none accepts",
        )

    def _named(self, text: str) -> str:
        """Return namespace and name of the pod of this node that has an address, else the address."""
        address = ip_address(text)
        for held in self._addresses.held():
            if held.pod is not None and address in (held.address, self._addresses.twin(held.address)):
                return f"{held.pod.namespace}/{held.pod.name}"
        return text
