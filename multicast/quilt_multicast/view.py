"""Multicast as others see it: plain data for the control socket, the command line and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quilt_multicast.core.forwarding import MeshPeer
from quilt_multicast.core.state import MESH_SIDE, POD_SIDE

if TYPE_CHECKING:
    from quilt_multicast.engine import Engine


@dataclass(frozen=True, slots=True)
class GroupView:
    """One group: interface indexes of the member pods here, names of the nodes with members."""

    group: str
    ports: tuple[int, ...]
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouteView:
    """One flow: sides are "pods" and "mesh"; no `outgoing` means that packets are dropped."""

    source: str
    group: str
    incoming: str
    outgoing: tuple[str, ...]
    hosts: tuple[str, ...]
    packets: int
    bytes: int
    wrong_interface: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over this node."""

    enabled: bool
    local_groups: int
    remote_groups: int
    flows: int
    copies: int
    packets: int
    bytes: int


_SIDES = {POD_SIDE: "pods", MESH_SIDE: "mesh"}


class MulticastState:
    """What is so now; everything is empty while multicast is off."""

    def __init__(
        self, engine: Callable[[], Engine | None], peers: Callable[[], Mapping[str, MeshPeer]]
    ) -> None:
        self._engine = engine
        self._peers = peers

    def groups(self) -> list[GroupView]:
        """Groups with members anywhere, by address."""
        engine = self._engine()
        if engine is None:
            return []
        peers = self._peers()
        return [
            GroupView(
                group,
                tuple(sorted(engine.local.ports(group))),
                tuple(sorted(peers[vtep].node for vtep in engine.remote.nodes(group) if vtep in peers)),
            )
            for group in sorted({*engine.local.groups, *engine.remote.groups}, key=_number)
        ]

    def routes(self) -> list[RouteView]:
        """Flows of this node's routing table, by group and source."""
        engine = self._engine()
        if engine is None:
            return []
        found = []
        for counted in engine.counters():
            desired = engine.forwarding.desired([counted.group])
            forward = desired.flows.get((counted.source, counted.group))
            if forward is None:
                continue
            hosts = sorted(host for _, host in desired.copies) if MESH_SIDE in forward.oifs else []
            found.append(
                RouteView(
                    counted.source,
                    counted.group,
                    _SIDES.get(forward.iif, str(forward.iif)),
                    tuple(_SIDES[oif] for oif in sorted(forward.oifs)),
                    tuple(hosts),
                    counted.packets,
                    counted.bytes,
                    counted.wrong_interface,
                )
            )
        return sorted(found, key=lambda route: (_number(route.group), _number(route.source)))

    def counters(self) -> Totals:
        """Sums over this node."""
        engine = self._engine()
        if engine is None:
            return Totals(False, 0, 0, 0, 0, 0, 0)
        counted = engine.counters()
        desired = engine.forwarding.desired()
        return Totals(
            True,
            len(engine.local.groups),
            len(engine.remote.groups),
            len(counted),
            len(desired.copies),
            sum(flow.packets for flow in counted),
            sum(flow.bytes for flow in counted),
        )

    def group_totals(self) -> list[tuple[str, int, int]]:
        """(group, packets, bytes) of each group that has flows."""
        engine = self._engine()
        totals: dict[str, tuple[int, int]] = {}
        for flow in engine.counters() if engine else ():
            packets, size = totals.get(flow.group, (0, 0))
            totals[flow.group] = (packets + flow.packets, size + flow.bytes)
        return [(group, *total) for group, total in sorted(totals.items())]


def _number(address: str) -> tuple[int, ...]:
    return tuple(map(int, address.split(".")))
