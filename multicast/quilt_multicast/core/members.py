"""Who is a member of what: pods of this node as the bridge snooped them, other nodes as they tell.

Limits are here, and whose pods take part, because a member that does not count must count nowhere: it must
neither be announced to other nodes nor be forwarded to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Set

from quilt_multicast.core.limits import Limits

LINK_LOCAL = "224.0.0."


class LocalMembers:
    """Groups with members among this node's pods; every method returns the groups that came or went."""

    def __init__(self, limits: Limits, admits: Callable[[int], bool] = lambda _port: True) -> None:
        self.limits = limits
        self._admits = admits
        self._ports: dict[str, set[int]] = {}
        self._groups: dict[int, set[str]] = defaultdict(set)
        self.refused: set[tuple[int, str]] = set()

    def __contains__(self, group: str) -> bool:
        return group in self._ports

    @property
    def groups(self) -> Set[str]:
        """Groups with a member."""
        return self._ports.keys()

    @property
    def members(self) -> set[tuple[int, str]]:
        """Every (port, group)."""
        return {(port, group) for group, ports in self._ports.items() for port in ports}

    def ports(self, group: str) -> Set[int]:
        """Interfaces of the pods that are members."""
        return self._ports.get(group, set())

    def join(self, port: int, group: str) -> bool:
        """Take in a member; return whether the group is new."""
        if group.startswith(LINK_LOCAL) or port in self._ports.get(group, ()):
            return False
        full = group not in self._ports and len(self._ports) >= self.limits.groups_per_node
        if full or len(self._groups[port]) >= self.limits.groups_per_pod or not self._admits(port):
            self.refused.add((port, group))
            return False
        self._groups[port].add(group)
        ports = self._ports.setdefault(group, set())
        ports.add(port)
        return len(ports) == 1

    def leave(self, port: int, group: str) -> bool:
        """Take out a member; return whether it was the group's last."""
        self.refused.discard((port, group))
        ports = self._ports.get(group)
        if ports is None or port not in ports:
            return False
        ports.discard(port)
        self._groups[port].discard(group)
        if not self._groups[port]:
            del self._groups[port]
        if ports:
            return False
        del self._ports[group]
        return True

    def follow(self, port: int, group: str, joined: bool) -> bool:
        """Take in that a pod joined or left; return whether the group came or went."""
        return self.join(port, group) if joined else self.leave(port, group)

    def replace(self, members: Iterable[tuple[int, str]]) -> set[str]:
        """Take in all (port, group) that there are; return the groups that came or went."""
        before = set(self._ports)
        wanted = set(members)
        for port, group in self.members:
            if (port, group) not in wanted or not self._admits(port):
                self.leave(port, group)
        self.refused &= wanted
        for port, group in sorted(wanted):
            self.join(port, group)
        return before ^ set(self._ports)


class RemoteMembers:
    """Groups with members on other nodes, by the node's VTEP address."""

    def __init__(self) -> None:
        self._of_node: dict[str, set[str]] = {}
        self._nodes: dict[str, set[str]] = {}

    def nodes(self, group: str) -> Set[str]:
        """VTEP addresses of the nodes that have members."""
        return self._nodes.get(group, set())

    def of(self, vtep: str) -> Set[str]:
        """Groups with members on a node."""
        return self._of_node.get(vtep, set())

    @property
    def groups(self) -> Set[str]:
        """Groups with a member on any other node."""
        return self._nodes.keys()

    def change(self, vtep: str, added: Iterable[str], removed: Iterable[str]) -> set[str]:
        """Take in changes of a node's groups; return the groups that they are about."""
        held = self._of_node.setdefault(vtep, set())
        touched: set[str] = set()
        for group in removed:
            if group in held:
                held.discard(group)
                self._nodes[group].discard(vtep)
                if not self._nodes[group]:
                    del self._nodes[group]
                touched.add(group)
        for group in added:
            if group not in held and not group.startswith(LINK_LOCAL):
                held.add(group)
                self._nodes.setdefault(group, set()).add(vtep)
                touched.add(group)
        if not held:
            del self._of_node[vtep]
        return touched

    def purge(self, vtep: str) -> set[str]:
        """Forget a node; return the groups it had members of."""
        return self.change(vtep, (), list(self.of(vtep)))
