"""What makes the VXLAN device send a group's packets to other nodes, in the two ways that kernels have.

Group entries (Linux 6.4) are exact. Before, copies are made by destination MAC, which holds 23 bits of a
group's address: groups that share them are sent to the nodes that have members of any of them, and dropped
there. What a copy is known by here, its key, is the group or its MAC.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence, Set
from ipaddress import IPv4Address

from quilt_log import log
from quilt_multicast.core.state import Copy
from quilt_netlink import Failure, FdbEntry, GroupEntry, MulticastKernel, VxlanGroup

_GROUP_MAC = "01:00:5e:"


class Copies:
    """By group entries; `device` is the index of the VXLAN device."""

    def __init__(self, kernel: MulticastKernel) -> None:
        self._kernel = kernel

    def key(self, group: str) -> str:
        """What a group's copies are known by: the group itself."""
        return group

    def alike(self, groups: Set[str], known: Iterable[str]) -> Set[str]:
        """Return these groups, and those known whose copies are the same ones: no group shares its copies."""
        return groups

    def read(self, device: int, entries: Iterable[GroupEntry]) -> set[Copy]:
        """Return what the kernel holds; `entries` are all of its group entries.

        Every entry of the device belongs to the mesh, but for those of one source.
        """
        held = (item for item in entries if isinstance(item, VxlanGroup) and item.ifindex == device)
        return {(item.group, item.dst) for item in held if not item.source}

    def add(self, device: int, copies: Sequence[Copy]) -> dict[Copy, str]:
        """Make copies; return those that the kernel refused, and why."""
        return _refused(copies, self._kernel.add_copies([VxlanGroup(device, *copy) for copy in copies]))

    def remove(self, device: int, copies: Sequence[Copy]) -> dict[Copy, str]:
        """Remove copies; return those that the kernel refused, and why."""
        return _refused(copies, self._kernel.remove_copies([VxlanGroup(device, *copy) for copy in copies]))


class ByMac(Copies):
    """By entries of the forwarding table, under the groups' MACs."""

    def key(self, group: str) -> str:
        """The group's MAC."""
        return _GROUP_MAC + (int(IPv4Address(group)) & 0x7FFFFF).to_bytes(3, "big").hex(":")

    def alike(self, groups: Set[str], known: Iterable[str]) -> Set[str]:
        """Groups of the same MACs."""
        keys = {self.key(group) for group in groups}
        return groups | {group for group in known if self.key(group) in keys}

    def read(self, device: int, entries: Iterable[GroupEntry]) -> set[Copy]:
        """Every entry under a group's MAC belongs to the mesh."""
        return {(e.mac, e.dst) for e in self._kernel.fdb(device) if e.mac.startswith(_GROUP_MAC)}

    def add(self, device: int, copies: Sequence[Copy]) -> dict[Copy, str]:
        """Make entries."""
        return _refused(copies, self._kernel.add_copies([FdbEntry(device, *copy) for copy in copies]))

    def remove(self, device: int, copies: Sequence[Copy]) -> dict[Copy, str]:
        """Remove entries."""
        return _refused(copies, self._kernel.remove_copies([FdbEntry(device, *copy) for copy in copies]))


def choose(kernel: MulticastKernel, device: int) -> Copies:
    """Return the exact way where the kernel has it, as the removal of what is not there shows."""
    nothing = VxlanGroup(device, "239.255.255.255", "192.0.2.1")
    refused = kernel.remove_copies([nothing])
    if not any(failure.errno == errno.EOPNOTSUPP for failure in refused):
        return Copies(kernel)
    log.info("multicast_copies_by_mac", reason="before Linux 6.4 a VXLAN device has no group entries")
    return ByMac(kernel)


def _refused(copies: Sequence[Copy], failures: Iterable[Failure]) -> dict[Copy, str]:
    return {copies[failure.index]: failure.message for failure in failures}
