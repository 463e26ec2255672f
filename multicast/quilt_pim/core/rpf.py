"""Which way is upstream: RPF information, tables of it by longest match, and what the mesh's routes say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from quilt_crds.names import BRIDGE_DEVICE
from quilt_multicast.core.mesh import Mesh
from quilt_pim.core.validate import ControlError

Network = IPv4Network | IPv6Network

MAX_STATIC = 4096


@dataclass(frozen=True, slots=True)
class RpfInfo:
    """The way to a source: the interface, the next router on it if there is one, and a metric."""

    upstream_interface: str
    upstream_neighbor: str | None = None
    metric: int | None = None


Upstream = Callable[[str], RpfInfo | None]
"""The way to a source inside the mesh, or None."""


class StaticRoutes:
    """RPF entries that callers added, by longest match.

    One prefix may have several; the lowest metric wins, then the newer. Held by length of prefix and address,
    so that a lookup costs the lengths in use.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[int, int, int], tuple[Network, tuple[RpfInfo, ...]]] = {}
        self._lengths: set[tuple[int, int]] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[Network, RpfInfo]]:
        found = sorted(self._held.values(), key=lambda held: (held[0].version, held[0]))
        return iter([(network, info) for network, infos in found for info in infos])

    def add(self, source: Network, info: RpfInfo) -> None:
        """Add a way; the same interface and neighbor again replaces that way."""
        same = (info.upstream_interface, info.upstream_neighbor)
        held = self._ways(source)
        kept = tuple(way for way in held if (way.upstream_interface, way.upstream_neighbor) != same)
        if kept == held and self._count >= MAX_STATIC:
            raise ControlError(f"There are {MAX_STATIC} static RPF routes already; remove some first")
        self._set(source, (info, *kept))

    def remove(self, source: Network, interface: str | None = None) -> int:
        """Remove the ways of a prefix, all or those over one interface; how many."""
        held = self._ways(source)
        kept = tuple(way for way in held if interface not in (None, way.upstream_interface))
        if kept == held:
            over = f" over {interface}" if interface else ""
            raise ControlError(
                f"There is no RPF route for {source}{over}; ListRpfRoutes shows which there are"
            )
        self._set(source, kept)
        return len(held) - len(kept)

    def clear(self) -> int:
        """Remove everything; how many there were."""
        count, self._count = self._count, 0
        self._held.clear()
        self._lengths.clear()
        return count

    def lookup(self, source: str) -> RpfInfo | None:
        """The best way to a source, or None."""
        wanted = ip_address(source)
        lengths = sorted((held[1] for held in self._lengths if held[0] == wanted.version), reverse=True)
        for length in lengths:
            rest = wanted.max_prefixlen - length
            held = self._held.get((wanted.version, length, int(wanted) >> rest << rest))
            if held is not None:
                # Without a metric a way counts as best: an operator who names one way only means it.
                return min(held[1], key=lambda way: way.metric or 0)
        return None

    def _ways(self, network: Network) -> tuple[RpfInfo, ...]:
        return self._held.get(_key(network), (network, ()))[1]

    def _set(self, network: Network, ways: tuple[RpfInfo, ...]) -> None:
        self._count += len(ways) - len(self._ways(network))
        self._held[_key(network)] = (network, ways)
        self._lengths.add((network.version, network.prefixlen))
        if not ways:
            del self._held[_key(network)]


def _key(network: Network) -> tuple[int, int, int]:
    return network.version, network.prefixlen, int(network.network_address)


def mesh_route(mesh: Mesh, source: str) -> RpfInfo | None:
    """The way to a source by the mesh's routes: the own subnet on the bridge, a peer's behind its VTEP.

    Asked of the claims when somebody asks: nothing is kept, and nothing has to follow.
    """
    claim = mesh.holder(source)
    if claim is None:
        return None
    if claim.node == mesh.own_node:
        return RpfInfo(BRIDGE_DEVICE, None, 0)
    # Also where unicast is sent without encapsulation: multicast always uses the VXLAN device.
    return RpfInfo(mesh.device, claim.vtep, 1)
