"""What a node's kernel should hold because of each peer, and what it holds: route, neighbor, FDB entry.

It reads the document of `quiltctl node dump` and shares no code with what writes the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from quilt_cli.core.snapshot import Snapshot
from quilt_crds.names import MESH_PROTOCOL, UP, vtep_mac
from quilt_crds.wire import QuiltSubnet, Wire

Dump = Mapping[str, Any]


class Held(Wire, frozen=True, omit_defaults=True):
    """One entry: what should be there, empty for nothing, and what is, where that is another."""

    wanted: str = ""
    held: str | None = None


class PeerEntries(Wire, frozen=True):
    """The entries for one subnet of a peer; `node` is empty where no peer has it."""

    node: str
    cidr: str
    route: Held
    neighbor: Held
    fdb: Held

    @property
    def well(self) -> bool:
        """Whether each is as it should be."""
        return all(entry.held is None for entry in (self.route, self.neighbor, self.fdb))


@dataclass(slots=True)
class _Tables:
    """What a dump says, by what the kernel looks it up by."""

    routes: dict[str, str] = field(default_factory=dict)
    neighbors: dict[str, str] = field(default_factory=dict)
    fdb: dict[str, str] = field(default_factory=dict)


def peer_entries(node: str, snapshot: Snapshot, dump: Dump) -> tuple[PeerEntries, ...]:
    """Compare a node's dump with the claims, those first that differ."""
    device, direct = snapshot.spec.vxlan.device, snapshot.spec.vxlan.direct_routing
    tables = _tables(dump, device)
    peers = [item for item in snapshot.subnets if item.node != node and item.mesh.phase == UP]
    found = [_compared(item, tables, device, direct=direct) for item in peers if item.mesh.host_ip]
    known = {item.cidr for item in snapshot.subnets}
    found += _stale(tables, known)
    return tuple(sorted(found, key=lambda item: item.well))


def _compared(peer: QuiltSubnet, tables: _Tables, device: str, *, direct: bool) -> PeerEntries:
    vtep, mac = peer.cidr.partition("/")[0], vtep_mac(peer.spec.network, peer.node)
    route = tables.routes.get(peer.cidr, "")
    # On one link packets may go to the host itself, and need nothing else.
    if direct and route.startswith(f"{peer.mesh.host_ip} "):
        return PeerEntries(peer.node, peer.cidr, Held(route), Held(), Held())
    return PeerEntries(
        peer.node,
        peer.cidr,
        _held(f"{vtep} {device}", route),
        _held(mac, tables.neighbors.get(vtep, "")),
        _held(peer.mesh.host_ip, tables.fdb.get(mac, "")),
    )


def _held(wanted: str, held: str) -> Held:
    return Held(wanted, None if held == wanted else held)


def _stale(tables: _Tables, known: set[str]) -> Iterator[PeerEntries]:
    """Routes of the mesh to what no claim is about."""
    for cidr, route in tables.routes.items():
        if cidr not in known:
            yield PeerEntries("", cidr, Held("", route), Held(), Held())


def _tables(dump: Dump, device: str) -> _Tables:
    hops = {item.get("id"): item for item in dump.get("nexthops") or ()}
    found = _Tables()
    for item in dump.get("routes") or ():
        if item.get("protocol") == MESH_PROTOCOL and item.get("type") == "unicast":
            way = item if item.get("gateway") else hops.get(item.get("nhid"), item)
            found.routes[str(item.get("dst"))] = f"{way.get('gateway', '')} {way.get('dev', '')}".strip()
    for item in dump.get("neighbors") or ():
        if item.get("dev") == device:
            found.neighbors[str(item.get("dst"))] = str(item.get("lladdr", ""))
    for item in dump.get("fdb") or ():
        if item.get("ifname") == device:
            found.fdb[str(item.get("mac"))] = str(item.get("dst", ""))
    return found
