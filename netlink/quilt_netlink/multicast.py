"""The kernel's multicast side of one network namespace: snooping bridges and VXLAN group entries.

Apart from Kernel, as most of its users have nothing to do with multicast.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from quilt_netlink import constants as c
from quilt_netlink import links, mroutes, mrules, peer
from quilt_netlink.errors import NetlinkError
from quilt_netlink.groups import (
    RTM_DELMDB,
    RTM_NEWMDB,
    BridgeGroup,
    GroupEntry,
    VxlanGroup,
    dump_request,
    read_groups,
    stamp_fdb,
    stamp_group,
)
from quilt_netlink.kernel import Kernel
from quilt_netlink.snooping import (
    Snooping,
    read_alias,
    read_fast_leave,
    read_max_groups,
    read_snooping,
    set_alias,
    set_fast_leave,
    set_max_groups,
    set_snooping,
)
from quilt_netlink.state import FdbEntry

T = TypeVar("T")
_NO_TABLES = (errno.ENOENT, errno.EOPNOTSUPP)
_NLM_F_APPEND = 0x800
_APPEND = c.NLM_F_REQUEST | c.NLM_F_CREATE | _NLM_F_APPEND
_ADD = c.NLM_F_REQUEST | c.NLM_F_CREATE | c.NLM_F_EXCL


@dataclass(frozen=True, slots=True)
class GroupFailure:
    """A group entry that the kernel refused."""

    entry: VxlanGroup
    errno: int
    message: str


class MulticastKernel(Kernel):
    """A Kernel that also reads and writes group entries and a bridge's snooping."""

    def groups(self) -> list[GroupEntry]:
        """Return every bridge's members and every VXLAN device's group entries."""
        found = self._table("groups", dump_request(), read_groups)
        return list(dict.fromkeys(entry for entries in found for entry in entries))

    def bridge_groups(self, bridge: int) -> list[BridgeGroup]:
        """Return the members behind a bridge's ports."""
        return [item for item in self.groups() if isinstance(item, BridgeGroup) and item.bridge == bridge]

    def vxlan_groups(self, ifindex: int) -> list[VxlanGroup]:
        """Return a VXLAN device's group entries."""
        return [item for item in self.groups() if isinstance(item, VxlanGroup) and item.ifindex == ifindex]

    def add_groups(self, entries: Sequence[VxlanGroup]) -> list[GroupFailure]:
        """Make group entries; one that exists already is success."""
        return self._write(RTM_NEWMDB, _ADD, entries, (errno.EEXIST,))

    def remove_groups(self, entries: Sequence[VxlanGroup]) -> list[GroupFailure]:
        """Remove group entries; one that is not there is success, also when its device is gone."""
        return self._write(RTM_DELMDB, c.NLM_F_REQUEST, entries, (errno.ENOENT, errno.ENODEV))

    def append_fdb(self, entries: Sequence[FdbEntry]) -> dict[tuple[str, str], str]:
        """Send a group's MAC to one more destination each; one that is there is success.

        Returns {(MAC, destination): why the kernel refused it}.
        """
        return self._write_fdb(c.RTM_NEWNEIGH, _APPEND, entries, (errno.EEXIST,))

    def remove_fdb(self, entries: Sequence[FdbEntry]) -> dict[tuple[str, str], str]:
        """Take destinations from groups' MACs; what is not there is success, also when its device is gone."""
        return self._write_fdb(c.RTM_DELNEIGH, c.NLM_F_REQUEST, entries, (errno.ENOENT, errno.ENODEV))

    def _write_fdb(
        self, kind: int, flags: int, entries: Sequence[FdbEntry], fine: tuple[int, ...]
    ) -> dict[tuple[str, str], str]:
        refused = self._batch(entries, lambda entry, seq: stamp_fdb(kind, flags, entry, seq), fine)
        return {(entry.mac, entry.dst): text for entry, _, text in refused}

    def _write(
        self, kind: int, flags: int, entries: Sequence[VxlanGroup], fine: tuple[int, ...]
    ) -> list[GroupFailure]:
        refused = self._batch(entries, lambda entry, seq: stamp_group(kind, flags, entry, seq), fine)
        return [GroupFailure(*item) for item in refused]

    def _batch(
        self, entries: Sequence[T], stamp: Callable[[T, int], bytes], fine: tuple[int, ...]
    ) -> list[tuple[T, int, str]]:
        if not entries:
            return []

        def build(seq: int) -> list[bytes]:
            return [stamp(entry, seq + place) for place, entry in enumerate(entries)]

        refused = self._channel.batch(build, len(entries))
        return [
            (entries[place], number, text)
            for place, (number, text) in sorted(refused.items())
            if number not in fine
        ]

    def multicast_rules(self) -> list[mrules.MulticastRule]:
        """Return the rules that choose a multicast routing table by interface; EAFNOSUPPORT raises."""
        return self._table("multicast rules", mrules.dump_request(), mrules.read)

    def multicast_routes(self, table: int) -> list[mroutes.MulticastRoute]:
        """Return the entries of a multicast routing table."""
        found = self._table("multicast routes", mroutes.dump_request(), mroutes.read, absent=_NO_TABLES)
        return [route for route in found if route.table == table]

    def add_multicast_rule(self, rule: mrules.MulticastRule) -> None:
        """Make a rule, unless it is there."""
        if rule not in self.multicast_rules():
            self._channel.request(mrules.write(mrules.RTM_NEWRULE, _ADD | c.NLM_F_ACK, rule))

    def remove_multicast_rule(self, rule: mrules.MulticastRule) -> None:
        """Remove a rule that is there."""
        self._channel.request(mrules.write(mrules.RTM_DELRULE, c.NLM_F_REQUEST | c.NLM_F_ACK, rule))

    def snooping(self, bridge: int) -> Snooping | None:
        """Return how a bridge treats multicast; None when it is not there or was built without snooping."""
        message = self._link_message(bridge)
        return read_snooping(message) if message else None

    def set_snooping(self, bridge: int, wanted: Snooping) -> None:
        """Make a bridge treat multicast as wanted. Raises NetlinkError."""
        for message in set_snooping(bridge, wanted):
            self._channel.request(message)

    def fast_leave(self, port: int) -> bool | None:
        """Return whether a bridge's port stops at a leave without asking around; None for no port."""
        message = self._link_message(port)
        return read_fast_leave(message) if message else None

    def set_fast_leave(self, port: int, on: bool) -> None:
        """Let a bridge's port stop at a leave at once: right where one member can be behind it."""
        self._channel.request(set_fast_leave(port, on))

    def max_groups(self, port: int) -> int | None:
        """Return how many groups are learned behind a bridge's port (0: any number); None for no port.

        Before Linux 6.3 there is no such limit: None, too.
        """
        message = self._link_message(port)
        return read_max_groups(message) if message else None

    def set_max_groups(self, port: int, most: int) -> None:
        """Let no more groups be learned behind a bridge's port; one pod then fills not the whole table."""
        self._channel.request(set_max_groups(port, most))

    def alias(self, key: int | str) -> str | None:
        """Return the alias of the interface with this index or name; None where there is none such."""
        message = self._link_message(key)
        return None if message is None else read_alias(message)

    def set_alias(self, name: str, text: str) -> None:
        """Give an interface an alias, of at most 254 bytes."""
        self._channel.request(set_alias(name, text))

    def peer_mac(self, name: str) -> str | None:
        """Return the MAC of a veth's other end, whose namespace stays closed; None where there is none.

        Raises NetlinkError where that namespace is not ours to ask about (EACCES).
        """
        message = self._link_message(name)
        question = peer.ask(message) if message else None
        return peer.read_mac(self._channel.request(question)[0]) if question else None

    def _link_message(self, key: int | str) -> bytes | None:
        try:
            return self._channel.request(links.get(key))[0]
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
