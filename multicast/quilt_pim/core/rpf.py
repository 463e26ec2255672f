"""Which way is upstream: RPF information, tables of it by longest match, and what the mesh's routes say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Generic, TypeVar

from quilt_crds.names import BRIDGE_DEVICE
from quilt_multicast.core.mesh import Mesh
from quilt_pim.core.errors import ControlError

Network = IPv4Network | IPv6Network
Value = TypeVar("Value")

MAX_STATIC = 4096


@dataclass(frozen=True, slots=True)
class RpfInfo:
    """The way to a source: the interface, the next router on it if there is one, and a metric."""

    upstream_interface: str
    upstream_neighbor: str | None = None
    metric: int | None = None


Upstream = Callable[[str], RpfInfo | None]
"""The way to a source inside the mesh, or None."""


class PrefixTable(Generic[Value]):
    """Longest-prefix match: one dictionary a prefix length, so that a lookup costs the lengths in use."""

    def __init__(self) -> None:
        self._tables: dict[tuple[int, int], dict[int, tuple[Network, Value]]] = {}

    def __len__(self) -> int:
        return sum(len(table) for table in self._tables.values())

    def __iter__(self) -> Iterator[tuple[Network, Value]]:
        found = [item for table in self._tables.values() for item in table.values()]
        return iter(
            sorted(found, key=lambda item: (item[0].version, int(item[0].network_address), item[0].prefixlen))
        )

    def get(self, network: Network) -> Value | None:
        """The value of exactly this prefix."""
        held = self._table(network).get(int(network.network_address))
        return held[1] if held else None

    def put(self, network: Network, value: Value) -> None:
        """Set the value of a prefix."""
        self._table(network)[int(network.network_address)] = (network, value)

    def pop(self, network: Network) -> Value | None:
        """Remove a prefix; its value, or None when there was none."""
        held = self._table(network).pop(int(network.network_address), None)
        return held[1] if held else None

    def clear(self) -> None:
        """Remove everything."""
        self._tables.clear()

    def match(self, address: str) -> Value | None:
        """The value of the longest prefix that holds the address."""
        wanted = ip_address(address)
        number, bits = int(wanted), wanted.max_prefixlen
        lengths = sorted((key[1] for key in self._tables if key[0] == wanted.version), reverse=True)
        for length in lengths:
            held = self._tables[wanted.version, length].get(number >> (bits - length) << (bits - length))
            if held is not None:
                return held[1]
        return None

    def _table(self, network: Network) -> dict[int, tuple[Network, Value]]:
        return self._tables.setdefault((network.version, network.prefixlen), {})


class StaticRoutes:
    """RPF entries that callers added. One prefix may have several; the lowest metric wins, then the newer."""

    def __init__(self) -> None:
        self._table: PrefixTable[tuple[RpfInfo, ...]] = PrefixTable()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[Network, RpfInfo]]:
        return iter([(network, info) for network, infos in self._table for info in infos])

    def add(self, source: Network, info: RpfInfo) -> None:
        """Add a way; the same interface and neighbor again replaces that way."""
        ways = [
            held
            for held in self._table.get(source) or ()
            if (held.upstream_interface, held.upstream_neighbor)
            != (info.upstream_interface, info.upstream_neighbor)
        ]
        replaced = len(self._table.get(source) or ()) - len(ways)
        if not replaced and self._count >= MAX_STATIC:
            raise ControlError(f"There are {MAX_STATIC} static RPF routes already; remove some first")
        self._table.put(source, (info, *ways))
        self._count += 1 - replaced

    def remove(self, source: Network, interface: str | None = None) -> int:
        """Remove the ways of a prefix, all or those over one interface; how many."""
        held = self._table.get(source) or ()
        kept = tuple(way for way in held if interface not in (None, way.upstream_interface))
        removed = len(held) - len(kept)
        if not removed:
            over = f" over {interface}" if interface else ""
            raise ControlError(
                f"There is no RPF route for {source}{over}; ListRpfRoutes shows which there are"
            )
        if kept:
            self._table.put(source, kept)
        else:
            self._table.pop(source)
        self._count -= removed
        return removed

    def clear(self) -> int:
        """Remove everything; how many there were."""
        count, self._count = self._count, 0
        self._table.clear()
        return count

    def lookup(self, source: str) -> RpfInfo | None:
        """The best way to a source, or None."""
        ways = self._table.match(source)
        # Without a metric a way counts as best: an operator who names one way only means it.
        return min(ways, key=lambda way: way.metric or 0) if ways else None


class MeshRoutes:
    """The way to a source by the mesh's routes: the own subnet on the bridge, a peer's behind its VTEP.

    Asked of the claims when somebody asks: nothing is kept, and nothing has to follow.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def lookup(self, source: str) -> RpfInfo | None:
        """The way to a source inside the mesh, or None for everything else."""
        claim = self._mesh.holder(source)
        if claim is None:
            return None
        if claim.node == self._mesh.own_node:
            return RpfInfo(BRIDGE_DEVICE, None, 0)
        # Also where unicast is sent without encapsulation: multicast always uses the VXLAN device.
        return RpfInfo(self._mesh.device, claim.vtep, 1)
