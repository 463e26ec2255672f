"""Care of what the mesh rests on but does not own: the host's neighbour table, and checksums of its device.

What may be set is set, upwards only; what may not is reported, with the number that it must be.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from quilt_log import log
from quilt_nodeagent.core.hostneeds import CHECKSUM_RIGHT, kernel_version, neighbours_needed, thresholds

Checksum = Literal["auto", "on", "off"]
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


@dataclass
class HostCare:
    """Looks after one host; `warnings` are sentences for its status. `sysctls` is the net sysctls' folder."""

    sysctls: Path
    checksum: Checksum = "auto"
    offload: TxChecksum = field(default_factory=TxChecksum)
    release: str = os.uname().release
    warnings: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self._kernel = kernel_version(self.release)
        self._warned: set[str] = set()

    def look(self, device: str, peers: int, direct: int) -> None:
        """Check everything, repair what may be repaired; `direct` peers are reached by its own link."""
        needed = neighbours_needed(peers, direct, self._kernel)
        found = [self._neighbours(family, needed) for family in ("ipv4", "ipv6")]
        self._checksums(device)
        self.warnings = tuple(text for text in found if text)

    def _neighbours(self, family: str, needed: int) -> str:
        folder = self.sysctls / family / "neigh" / "default"
        paths = [folder / f"gc_thresh{number}" for number in (1, 2, 3)]
        try:
            first, second, third = (int(path.read_text()) for path in paths)
        except (OSError, ValueError):
            return ""  # in a network namespace of its own: only the host's first one has them
        wanted = thresholds(needed, (first, second, third))
        if wanted is None:
            return ""
        try:
            # The largest first: at no time is a smaller one above it.
            for path, value in reversed(list(zip(paths, wanted, strict=True))):
                path.write_text(str(value))
        except OSError:
            name = f"net.{family}.neigh.default.gc_thresh3"
            return f"{name} is {third}, the mesh may need {needed}: set it to {wanted[2]} on this host."
        log.info("neighbour_table_enlarged", family=family, entries=wanted[2], was=third)
        return ""

    def _checksums(self, device: str) -> None:
        if self.checksum == "auto" and self._kernel >= CHECKSUM_RIGHT:
            return
        wanted = self.checksum == "on"
        try:
            if self.offload.get(device) != wanted:
                self.offload.set(device, on=wanted)
                why = "asked for" if self.checksum != "auto" else "this kernel would send wrong checksums"
                log.info("checksum_offload_set", device=device, on=wanted, because=why)
        except OSError as error:
            if device not in self._warned:
                self._warned.add(device)
                log.warning("checksum_offload_not_set", device=device, on=wanted, error=str(error))
