"""Care of the VXLAN device: made or adopted, every parameter checked, repaired in place or made again.

Nothing here knows peers. Whoever asks for care must read the device's entries afterwards: a device that was
made again has none, and its index is another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from quilt_log import log
from quilt_netlink import Address, Delete, KernelLike, Link, NetlinkError, Put
from quilt_nodeagent.core.device import Care, clash, former, judge
from quilt_nodeagent.kernel.observe import addresses_of

# Loose source checks, whatever the host asks of all devices (the larger counts); forwarding, which a new
# device has only where the host's default says so; no redirects.
_SYSCTLS = {
    "ipv4/conf/{device}/rp_filter": "2",
    "ipv4/conf/{device}/forwarding": "1",
    "ipv4/conf/{device}/send_redirects": "0",
}
_SYSCTLS_V6 = {"ipv6/conf/{device}/disable_ipv6": "0", "ipv6/conf/{device}/accept_ra": "0"}


class DeviceError(Exception):
    """The VXLAN device cannot be made as it must be; the text names what is in the way and what to do."""


@dataclass(frozen=True, slots=True)
class DeviceKeeper:
    """Keeps one VXLAN device and its addresses as wanted; `sysctls` is the folder of net sysctls."""

    kernel: KernelLike
    sysctls: Path

    def ensure(self, wanted: Link, addresses: frozenset[str] | None) -> tuple[int, list[str]]:
        """Make the device as wanted; None leaves its addresses alone.

        Returns its index, and what had to be repaired of it (link, address, sysctl).
        Raises DeviceError when another device is in the way, NetlinkError when the kernel refuses.
        """
        held = self.kernel.link(wanted.name)
        care, why = judge(wanted, held)
        repaired = [] if care == "nothing" else ["link"]
        index = self._act(wanted, held, care, why)
        # First the switches: a device whose IPv6 is off accepts no such address.
        dual_stack = any(":" in address for address in addresses or ())
        if self._ensure_sysctls(wanted.name, _SYSCTLS | (_SYSCTLS_V6 if dual_stack else {})):
            repaired.append("sysctl")
        if addresses is not None and self._ensure_addresses(index, addresses):
            repaired.append("address")
        return index, repaired

    def _act(self, wanted: Link, held: Link | None, care: Care, why: Sequence[str]) -> int:
        if care == "refuse":
            raise DeviceError("; ".join(why))
        if care == "nothing" and held is not None:
            return held.index
        log.info("device_changed", care=care, device=wanted.name, why=why)
        if care == "repair" and held is not None:
            if self._repair(wanted, held):
                return held.index
            log.info("device_changed", care="recreate", device=wanted.name, why="not repaired in place")
        return self._make(wanted, held)

    def _repair(self, wanted: Link, held: Link) -> bool:
        try:
            self.kernel.run(Put(replace(wanted, index=held.index)))
        except NetlinkError as error:
            log.info("device_repair_refused", device=wanted.name, error=str(error))
            return False
        now = self.kernel.link(wanted.name)
        return judge(wanted, now)[0] == "nothing"

    def _make(self, wanted: Link, held: Link | None) -> int:
        others = self.kernel.links()
        if problem := clash(wanted, others):
            raise DeviceError(problem)
        # The same device under another name, or the one of former settings: nobody else has our MAC.
        for stale in (*former(wanted, others), *([held] if held else [])):
            log.info("device_removed", device=stale.name)
            self.kernel.run(Delete(stale))
        self.kernel.run(Put(wanted))
        made = self.kernel.link(wanted.name)
        if made is None:
            raise DeviceError(f"device {wanted.name} went away while it was made; it will be made again")
        return made.index

    def _ensure_addresses(self, index: int, wanted: frozenset[str]) -> bool:
        held = addresses_of(self.kernel, index)
        # The new one first: there is always a source address for what the host sends to pods.
        for address in sorted(wanted - held):
            self.kernel.run(Put(Address(index, address)))
            log.info("device_address_added", address=address)
        for address in sorted(held - wanted):
            self.kernel.run(Delete(Address(index, address)))
            log.info("device_address_removed", address=address)
        return held != wanted

    def _ensure_sysctls(self, device: str, wanted: Mapping[str, str]) -> bool:
        changed = False
        for name, value in wanted.items():
            path = self.sysctls / name.format(device=device)
            try:
                if path.read_text().strip() != value:
                    path.write_text(value)
                    changed = True
            except OSError as error:
                # Read-only outside a cluster's mounts; traffic works where the defaults are permissive.
                log.debug("sysctl_not_set", path=str(path), error=str(error))
        return changed
