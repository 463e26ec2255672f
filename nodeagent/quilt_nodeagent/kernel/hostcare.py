"""Care of what the mesh rests on but does not own: the host's neighbour table, and checksums of its device.

What may be set is set, upwards only; what may not is told, with the number that it must be.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from quilt_nodeagent.core.hostneeds import kernel_version, neighbours_needed, spoils_checksums, thresholds
from quilt_nodeagent.kernel.offload import TxChecksum

log = structlog.get_logger()

Checksum = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class Load:
    """What a host has to carry: all peers, and those of them that it reaches by its own link."""

    peers: int
    direct: int


class HostCare:
    """Looks after one host; `warnings` are sentences for its status. `sysctls` is the net sysctls' folder."""

    def __init__(
        self,
        sysctls: Path,
        checksum: Checksum = "auto",
        offload: TxChecksum | None = None,
        release: str = os.uname().release,
    ) -> None:
        self._sysctls = sysctls
        self._kernel = kernel_version(release)
        self._checksum = checksum
        self._offload = offload or TxChecksum()
        self._told: set[str] = set()
        self.warnings: tuple[str, ...] = ()

    def look(self, device: str, load: Load) -> None:
        """Check everything, mend what may be mended."""
        needed = neighbours_needed(load.peers, load.direct, self._kernel)
        found = [self._neighbours(family, needed) for family in ("ipv4", "ipv6")]
        self._checksums(device)
        self.warnings = tuple(text for text in found if text)

    def _neighbours(self, family: str, needed: int) -> str:
        folder = self._sysctls / family / "neigh" / "default"
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
        wanted = self._checksum == "on"
        if self._checksum == "auto":
            if not spoils_checksums(self._kernel):
                return
            wanted = False
        try:
            if self._offload.get(device) != wanted:
                self._offload.set(device, on=wanted)
                why = "asked for" if self._checksum != "auto" else "this kernel would send wrong checksums"
                log.info("checksum_offload_set", device=device, on=wanted, because=why)
        except OSError as error:
            if device not in self._told:
                self._told.add(device)
                log.warning("checksum_offload_not_set", device=device, on=wanted, error=str(error))
