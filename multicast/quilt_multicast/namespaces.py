"""Whose pods take part in multicast: all, or those of chosen namespaces.

A pod's namespace is in the alias of its interface on the node, where the runtime writes it when it makes
the interface; so it is known without asking the API, and after anybody's restart.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from ipaddress import IPv4Address

from quilt_crds.names import POD_INTERFACE_PREFIX
from quilt_netlink import Link, NetlinkError


class Admission:
    """`alias(key)` returns the alias of the interface with this index or name, None without one."""

    def __init__(self, alias: Callable[[int | str], str | None]) -> None:
        self._alias = alias
        self._chosen: Set[str] = frozenset()
        self._known: dict[int | str, str] = {}

    def choose(self, namespaces: Set[str]) -> bool:
        """Admit pods of these namespaces alone, or all where there are none; return whether that is new."""
        before, self._chosen = self._chosen, namespaces
        return namespaces != before

    def port(self, port: int) -> bool:
        """Whether the pod behind an interface may be a member."""
        return not self._chosen or self._namespace(port) in self._chosen

    def source(self, address: str) -> bool:
        """Whether the pod with an address may send to other nodes."""
        return not self._chosen or self._namespace(_interface(address)) in self._chosen

    def exists(self, address: str) -> bool:
        """Whether an address of this node's subnets is a pod's."""
        try:
            return self._alias(_interface(address)) is not None
        except NetlinkError:
            return True  # the kernel did not answer: nobody is shut out for that

    def ask_again(self) -> None:
        """Believe nothing that was known: notifications may have been lost."""
        self._known.clear()

    def forget(self, link: Link) -> bool:
        """Follow a change of an interface: its name may be another pod's now. Returns whether it mattered."""
        held = [self._known.pop(key, None) for key in (link.index, link.name)]
        return any(held)

    def _namespace(self, key: int | str) -> str:
        known = self._known.get(key)
        if known is None:
            try:
                known = (self._alias(key) or "").partition("/")[0]
            except NetlinkError:
                return ""  # asked again at the next look
            if known:
                self._known[key] = known
        return known


def _interface(address: str) -> str:
    return f"{POD_INTERFACE_PREFIX}{int(IPv4Address(address)):08x}"
