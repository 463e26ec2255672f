"""Who is a member of what: pods of this node as the bridge snooped them, other nodes as they tell.

Limits are here, and whose pods take part, because a member that does not count must count nowhere: it must
neither be announced to other nodes nor be forwarded to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Generic, TypeVar

from quilt_crds.wire_network import MulticastSpec

LINK_LOCAL = "224.0.0."
_DEFAULTS = MulticastSpec()
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one pod, and one node, may ask of multicast.

    A flow is a (source, group) that packets came for. `shut_out` is how many of those that may not be
    forwarded are remembered, so that the kernel asks once.
    """

    groups_per_pod: int = _DEFAULTS.max_groups_per_pod
    groups_per_node: int = _DEFAULTS.max_groups_per_node
    flows_per_pod: int = 256
    flows_per_node: int = 8192
    shut_out: int = 1024


def limits_of(settings: MulticastSpec) -> Limits:
    """Return the limits that a QuiltNetwork sets."""
    return Limits(settings.max_groups_per_pod, settings.max_groups_per_node)


class _Members(Generic[K]):
    """Who is a member of which groups, both ways round: pods by interface, nodes by VTEP address."""

    def __init__(self) -> None:
        self._groups: dict[K, set[str]] = {}
        self._members: dict[str, set[K]] = {}

    def __contains__(self, group: str) -> bool:
        return group in self._members

    @property
    def groups(self) -> Set[str]:
        """Groups with a member."""
        return self._members.keys()

    def of(self, member: K) -> Set[str]:
        """Groups that one is a member of."""
        return self._groups.get(member, set())

    def members(self, group: str) -> Set[K]:
        """Who is a member of a group."""
        return self._members.get(group, set())

    def _add(self, member: K, groups: Set[str]) -> None:
        if groups:
            self._groups.setdefault(member, set()).update(groups)
        for group in groups:
            self._members.setdefault(group, set()).add(member)

    def _remove(self, member: K, groups: Set[str]) -> None:
        held = self._groups.get(member, set())
        held -= groups
        if not held:
            self._groups.pop(member, None)
        for group in groups:
            self._members[group].discard(member)
            if not self._members[group]:
                del self._members[group]


class LocalMembers(_Members[int]):
    """Groups with members among this node's pods; every method returns the groups that came or went."""

    def __init__(self, limits: Limits, admits: Callable[[int], bool] = lambda _port: True) -> None:
        super().__init__()
        self.limits = limits
        self._admits = admits
        self.refused: set[tuple[int, str]] = set()

    def join(self, port: int, group: str) -> bool:
        """Take in a member; return whether the group is new."""
        if group.startswith(LINK_LOCAL) or port in self.members(group):
            return False
        new = group not in self
        full = new and len(self._members) >= self.limits.groups_per_node
        if full or len(self.of(port)) >= self.limits.groups_per_pod or not self._admits(port):
            self.refused.add((port, group))
            return False
        self._add(port, {group})
        return new

    def leave(self, port: int, group: str) -> bool:
        """Take out a member; return whether it was the group's last."""
        self.refused.discard((port, group))
        if port not in self.members(group):
            return False
        self._remove(port, {group})
        return group not in self

    def follow(self, port: int, group: str, joined: bool) -> bool:
        """Take in that a pod joined or left; return whether the group came or went."""
        return self.join(port, group) if joined else self.leave(port, group)

    def replace(self, members: Iterable[tuple[int, str]]) -> set[str]:
        """Take in all (port, group) that there are; return the groups that came or went."""
        before = set(self._members)
        wanted = set(members)
        for port, group in [(port, group) for group, ports in self._members.items() for port in ports]:
            if (port, group) not in wanted or not self._admits(port):
                self.leave(port, group)
        self.refused &= wanted
        for port, group in sorted(wanted):
            self.join(port, group)
        return before ^ set(self._members)


class RemoteMembers(_Members[str]):
    """Groups with members on other nodes, by the node's VTEP address."""

    def change(self, vtep: str, added: Iterable[str], removed: Iterable[str]) -> set[str]:
        """Take in changes of a node's groups; return the groups that they are about."""
        gone = set(removed) & self.of(vtep)
        self._remove(vtep, gone)
        new = {group for group in added if not group.startswith(LINK_LOCAL)} - self.of(vtep)
        self._add(vtep, new)
        return gone | new
