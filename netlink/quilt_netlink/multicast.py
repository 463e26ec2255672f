"""The kernel's multicast side of one network namespace: snooping bridges and VXLAN group entries.

Apart from Kernel, as most of its users have nothing to do with multicast.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from quilt_netlink import groups, links, rules
from quilt_netlink import snooping as bridges
from quilt_netlink.kernel import Kernel, ask, ask_link
from quilt_netlink.ops import Append, Create, Delete, Op
from quilt_netlink.state import Entry, FdbEntry, GroupEntry, VxlanGroup

T = TypeVar("T", bound=Entry)
_NO_TABLES = (errno.ENOENT, errno.EOPNOTSUPP)
_THERE, _GONE = (errno.EEXIST,), (errno.ENOENT, errno.ENODEV)


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
        found = self._table("groups", groups.dump_request(), groups.read_groups)
        return list(dict.fromkeys(entry for entries in found for entry in entries))

    def vxlan_groups(self, ifindex: int) -> list[VxlanGroup]:
        """Return a VXLAN device's group entries."""
        return [item for item in self.groups() if isinstance(item, VxlanGroup) and item.ifindex == ifindex]

    def add_groups(self, entries: Sequence[VxlanGroup]) -> list[GroupFailure]:
        """Make group entries; one that exists already is success."""
        return [GroupFailure(*item) for item in self._write(Create, entries, _THERE)]

    def remove_groups(self, entries: Sequence[VxlanGroup]) -> list[GroupFailure]:
        """Remove group entries; one that is not there is success, also when its device is gone."""
        return [GroupFailure(*item) for item in self._write(Delete, entries, _GONE)]

    def append_fdb(self, entries: Sequence[FdbEntry]) -> dict[tuple[str, str], str]:
        """Send a group's MAC to one more destination each; one that is there is success.

        Returns {(MAC, destination): why the kernel refused it}.
        """
        return {(entry.mac, entry.dst): text for entry, _, text in self._write(Append, entries, _THERE)}

    def remove_fdb(self, entries: Sequence[FdbEntry]) -> dict[tuple[str, str], str]:
        """Take destinations from groups' MACs; what is not there is success, also when its device is gone."""
        return {(entry.mac, entry.dst): text for entry, _, text in self._write(Delete, entries, _GONE)}

    def _write(self, verb: type[Op], entries: Sequence[T], fine: tuple[int, ...]) -> list[tuple[T, int, str]]:
        refused = self.apply([verb(entry) for entry in entries])
        return [(entries[no.index], no.errno, no.message) for no in refused if no.errno not in fine]

    def multicast_rules(self) -> list[rules.MulticastRule]:
        """Return the rules that choose a multicast routing table by interface; EAFNOSUPPORT raises."""
        return self._table("multicast rules", rules.multicast_rules(), rules.read_multicast_rule)

    def multicast_routes(self, table: int) -> list[rules.MulticastRoute]:
        """Return the entries of a multicast routing table."""
        found = self._table(
            "multicast routes", rules.multicast_routes(), rules.read_multicast_route, absent=_NO_TABLES
        )
        return [route for route in found if route.table == table]

    def add_multicast_rule(self, rule: rules.MulticastRule) -> None:
        """Make a rule, unless it is there."""
        if rule not in self.multicast_rules():
            self._channel.request(rules.create(rule))

    def remove_multicast_rule(self, rule: rules.MulticastRule) -> None:
        """Remove a rule that is there."""
        self._channel.request(rules.remove(rule))

    def snooping(self, bridge: int) -> bridges.Snooping | None:
        """Return how a bridge treats multicast; None when it is not there or was built without snooping."""
        link = ask_link(self._channel, bridge)
        return bridges.read_snooping(link) if link else None

    def set_snooping(self, bridge: int, wanted: bridges.Snooping) -> None:
        """Make a bridge treat multicast as wanted. Raises NetlinkError."""
        for message in bridges.set_snooping(bridge, wanted):
            self._channel.request(message)

    def fast_leave(self, port: int) -> bool | None:
        """Return whether a bridge's port stops at a leave without asking around; None for no port."""
        value = self._port(port, bridges.FAST_LEAVE)
        return None if value is None else bool(value)

    def set_fast_leave(self, port: int, on: bool) -> None:
        """Let a bridge's port stop at a leave at once: right where one member can be behind it."""
        self._channel.request(bridges.set_port(port, bridges.FAST_LEAVE, int(on)))

    def max_groups(self, port: int) -> int | None:
        """Return how many groups are learned behind a bridge's port (0: any number); None for no port.

        Before Linux 6.3 there is no such limit: None, too.
        """
        return self._port(port, bridges.MAX_GROUPS)

    def set_max_groups(self, port: int, most: int) -> None:
        """Let no more groups be learned behind a bridge's port; one pod then fills not the whole table."""
        self._channel.request(bridges.set_port(port, bridges.MAX_GROUPS, most))

    def alias(self, key: int | str) -> str | None:
        """Return the alias of the interface with this index or name; None without one."""
        link = ask_link(self._channel, key)
        return link.get("IFLA_IFALIAS", "") if link else None

    def set_alias(self, name: str, text: str) -> None:
        """Give an interface an alias, of at most 254 bytes."""
        self._channel.request(links.set_alias(name, text))

    def peer_mac(self, name: str) -> str | None:
        """Return the MAC of a veth's other end, whose namespace stays closed; None without one.

        Raises NetlinkError where that namespace may not be asked about (EACCES).
        """
        link = ask_link(self._channel, name)
        question = links.get_peer(link) if link else None
        return ask(self._channel, question).get("IFLA_ADDRESS") if question else None

    def _port(self, port: int, setting: str) -> int | None:
        link = ask_link(self._channel, port)
        return bridges.read_port(link, setting) if link else None
