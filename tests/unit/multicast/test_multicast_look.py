"""What a look at the kernel finds where its answers are not whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from quilt_multicast.dataplane import MulticastDataplane
from quilt_multicast.mroute import DEFAULT_TABLE, MulticastTable
from quilt_netlink import BridgeGroup, Failure, GroupEntry, Link, MulticastKernel, VxlanGroup

BRIDGE, DEVICE, PORT = 3, 4, 9


class Table:
    table = DEFAULT_TABLE

    def fileno(self) -> int:
        return -1

    def add_interface(self, vif: int, ifindex: int) -> None:
        """Nothing routes here."""

    def remove_interface(self, vif: int) -> None:
        """Nothing routes here."""


class Dumps:
    """A kernel whose dumps are these, one after the other."""

    def __init__(self, *dumps: Iterable[GroupEntry]) -> None:
        self._dumps = list(dumps)

    def link(self, name: str) -> Link:
        return Link(name, index={"quilt0": BRIDGE, "vxlan100": DEVICE}[name], up=True)

    def remove_copies(self, _entries: object) -> list[Failure]:
        return []

    def groups(self) -> list[GroupEntry]:
        return list(self._dumps.pop(0))


def test_a_member_that_one_dump_leaves_out_is_still_one() -> None:
    members = [BridgeGroup(BRIDGE, PORT, f"239.1.1.{number}") for number in range(3)]
    gone = VxlanGroup(DEVICE, "239.1.1.1", "198.18.0.2")
    kernel = Dumps([*members[1:], gone], members[:2])
    dataplane = MulticastDataplane(
        cast(MulticastKernel, kernel), "quilt0", "vxlan100", lambda: cast(MulticastTable, Table())
    )
    dataplane.open()
    assert dataplane.look() == {(PORT, member.group) for member in members}
    # Copies are written by the mesh alone: the last word on them is true.
    assert dataplane.tracked.copies == set()
