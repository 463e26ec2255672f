"""Multicast as others see it: plain data for the control socket, the command line and metrics."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from quilt_multicast.core.state import MESH_SIDE, POD_SIDE
from quilt_multicast.engine import Engine

TOTALS = ("enabled", "local_groups", "remote_groups", "flows", "copies", "packets", "bytes")


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """One group: `members` are interfaces of the member pods behind `interface`, `nodes` those elsewhere."""

    group: str
    interface: str
    members: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteInfo:
    """One route, by names of interfaces: without `output_interfaces` packets are dropped.

    `source` is None for (*,G), `nodes` are host addresses that copies go to, None is what nobody counts.
    """

    group: str
    source: str | None
    input_interface: str | None
    output_interfaces: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    packets: int | None = None
    bytes: int | None = None


class MulticastState:
    """What is so now; everything is empty while multicast is off. Each call is cheap and never waits."""

    def __init__(self, engine: Callable[[], Engine | None] = lambda: None) -> None:
        self._engine = engine

    def groups(self) -> list[GroupInfo]:
        """Groups with members anywhere, by address."""
        engine = self._engine()
        if engine is None:
            return []
        peers = engine.forwarding.topology.peers
        return [
            GroupInfo(
                group,
                engine.dataplane.interfaces[POD_SIDE],
                tuple(map(_interface, sorted(engine.local.members(group)))),
                tuple(sorted(peers[vtep].node for vtep in engine.remote.members(group) if vtep in peers)),
            )
            for group in sorted({*engine.local.groups, *engine.remote.groups}, key=IPv4Address)
        ]

    def routes(self) -> list[RouteInfo]:
        """Flows of this node's routing table, by group and source."""
        engine = self._engine()
        if engine is None:
            return []
        found = []
        for counted in sorted(
            engine.dataplane.counters(), key=lambda flow: (IPv4Address(flow.group), IPv4Address(flow.source))
        ):
            desired = engine.forwarding.desired([counted.group])
            forward = desired.flows.get((counted.source, counted.group))
            if forward is None:
                continue
            hosts = sorted(host for _, host in desired.copies) if MESH_SIDE in forward.oifs else []
            found.append(
                RouteInfo(
                    counted.group,
                    counted.source,
                    engine.dataplane.interfaces.get(forward.iif, str(forward.iif)),
                    tuple(engine.dataplane.interfaces[oif] for oif in sorted(forward.oifs)),
                    tuple(hosts),
                    counted.packets,
                    counted.bytes,
                )
            )
        return found

    def counters(self) -> dict[str, int]:
        """Sums over this node, by the names of TOTALS."""
        engine = self._engine()
        if engine is None:
            return dict.fromkeys(TOTALS, 0)
        flows = engine.dataplane.counters()
        here, elsewhere = len(engine.local.groups), len(engine.remote.groups)
        copies = len(engine.forwarding.desired().copies)
        packets, size = sum(flow.packets for flow in flows), sum(flow.bytes for flow in flows)
        return dict(zip(TOTALS, (1, here, elsewhere, len(flows), copies, packets, size), strict=True))

    def traffic(self) -> tuple[int, int]:
        """(packets, bytes) of all flows that there are."""
        engine = self._engine()
        flows = engine.dataplane.counters() if engine else []
        return sum(flow.packets for flow in flows), sum(flow.bytes for flow in flows)


def _interface(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"#{index}"
