"""Looking up what the kernel holds at the destinations at hand, one by one or, where they are many, all."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_network

from quilt_netlink import TABLE_MAIN, KernelLike, Link, Route

FEW = 16
"""So many single look-ups cost less than reading a table of thousands."""


def held_at(
    kernel: KernelLike,
    prefixes: Collection[str],
    *,
    careful: bool = False,
    fully: bool = False,
    but: frozenset[int] = frozenset(),
) -> dict[str, list[Route]]:
    """Return the main table's unicast routes at each of these prefixes; raises NetlinkError.

    Where these are many, routes of the protocols in `but` need not be among them.
    A single look-up shows the route that counts at a prefix. Where it shows another one, the whole table is
    read: for a route of a longer prefix or of another table, and for none at all if the call is `careful`
    (before Linux 5.14 an address of the host's own stands before its network's route).
    """
    held: dict[str, list[Route]] = {prefix: [] for prefix in prefixes}
    if not fully and len(prefixes) <= FEW:
        for prefix in prefixes:
            found = kernel.route_get(prefix.partition("/")[0], fib_match=True)
            if _unclear(found, prefix, careful=careful):
                break
            if found is not None and found.prefix == prefix:
                held[prefix] = [found]
        else:
            return held
    held = {prefix: [] for prefix in prefixes}
    for route in kernel.routes(but=but):
        if route.prefix in held:
            held[route.prefix].append(route)
    return held


def _unclear(found: Route | None, prefix: str, *, careful: bool) -> bool:
    if found is None:
        return careful
    longer = ip_network(found.prefix).prefixlen > ip_network(prefix).prefixlen
    return found.table != TABLE_MAIN or longer


class Names:
    """Interface names by index and back, asked of the kernel once each."""

    def __init__(self, kernel: KernelLike) -> None:
        self._kernel = kernel
        self._links: dict[str | int, Link | None] = {}

    def link(self, key: str | int) -> Link | None:
        """Return an interface by name or index, None where it does not exist."""
        if key not in self._links:
            self._links[key] = self._kernel.link(key)
        return self._links[key]

    def of(self, index: int) -> str:
        """Return an interface's name, or its index in words."""
        link = self.link(index)
        return link.name if link else f"if{index}"
