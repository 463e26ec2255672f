"""What is in the kernel because of a peer, and how packets get there: one object for each way.

The dataplane is data here, keyed the way the kernel indexes it. VXLAN is the only way yet. A second one, such
as WireGuard, is a second implementation of `Overlay`, its kinds of entries and their writing in
`dataplane.py`: peers, passes and routes stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from msgspec import Struct

from quilt_crds.wire_network import VxlanSpec
from quilt_delta import Tracked
from quilt_netlink.state import ADDRGENMODE_NONE, Link
from quilt_netlink.state import Vxlan as Parameters
from quilt_nodeagent.core.peer import Peer

VXLAN_DEFAULTS = VxlanSpec()
# The metric of the routes that refuse: any other route of the same prefix precedes it, of whatever owner.
LOWEST_PREFERENCE = 0xFFFFFFFF
_NO_MAC = "00:00:00:00:00:00"
_INDIVIDUAL = "02468ace"
"""Second digits of MACs that are no group's: the lowest bit of the first byte says that."""

Kind = Literal["neighbour", "fdb", "route", "unreachable"]
Mark = tuple[Kind, str]
"""The place of one entry: its table, and its key there."""
Entry = tuple[Kind, str, str]
"""An entry beside routes: its table, its key and its value there."""


class Hop(Struct, frozen=True, gc=False):
    """Where a route leads: on-link `gateway` (an address without length) behind device `device` (a name)."""

    gateway: str
    device: str


Entries = dict[Kind, dict[str, Any]]
"""A dataplane: neighbours VTEP address -> MAC, FDB MAC -> host IP, routes prefix -> Hop.

And under `unreachable` the prefixes that are refused where no route leads.
"""


def unlike(one: Entries, other: Entries) -> set[Mark]:
    """Return the places where the two differ."""
    return {
        (kind, key)
        for kind, entries in one.items()
        for key in entries.keys() | other[kind].keys()
        if entries.get(key) != other[kind].get(key)
    }


class Tables:
    """Desired and actual entries, table by table."""

    def __init__(self) -> None:
        self.neighbours: Tracked[str, str] = Tracked()
        self.fdb: Tracked[str, str] = Tracked()
        self.routes: Tracked[str, Hop] = Tracked()
        self.unreachable: Tracked[str, bool] = Tracked()
        self.of: dict[Kind, Tracked[str, Any]] = {
            "neighbour": self.neighbours,
            "fdb": self.fdb,
            "route": self.routes,
            "unreachable": self.unreachable,
        }

    def want(self, marks: Iterable[Mark], desired: Callable[[Mark], str | Hop | bool | None]) -> None:
        """Take what is desired at these places from `desired`."""
        for mark in marks:
            self.of[mark[0]].want(mark[1], desired(mark))

    def want_all(self, desired: Entries) -> None:
        """Desire exactly these entries."""
        for kind, entries in desired.items():
            self.of[kind].want_all(entries)

    @property
    def pending(self) -> set[Mark]:
        """Places at which the kernel is not known to be as desired."""
        return {(kind, key) for kind, table in self.of.items() for key in table.differing}

    def differ(self, mark: Mark) -> bool:
        """Whether the kernel is not known to be as desired at a place."""
        return mark[1] in self.of[mark[0]].differing


class Overlay(Protocol):
    """One way to other nodes, over one device."""

    @property
    def kinds(self) -> Sequence[Kind]:
        """Kinds of the entries that it needs beside routes."""

    def overhead(self, host_ip: str) -> int:
        """Bytes that it adds to a packet, on an underlay of this address' family."""

    def device(self, name: str, local: str, mac: str, mtu: int) -> Link:
        """Return the device that is wanted on a node with the underlay address `local`."""

    def entries(self, peer: Peer) -> Sequence[Entry]:
        """Return what a peer needs beside its route, at most one entry of a kind."""

    def hop(self, peer: Peer, device: str) -> Hop:
        """Return where the route to a peer leads."""

    def rests_on(self, hop: Hop, tables: Tables) -> Sequence[Mark]:
        """Return the places of what a route over this device rests on, as far as is known."""

    def order(self, tables: Tables) -> tuple[list[Entry], list[Entry]]:
        """Return what is pending of its kinds in the order in which it misleads no packet.

        What is made before routes are, and what is removed after they are.
        """


@dataclass(frozen=True, slots=True)
class Vxlan:
    """Frames in UDP.

    A packet to a pod is routed to the peer's VTEP address, which is its subnet's network address, on-link
    by the device. The neighbour entry of that address gives the frame its MAC, the FDB entry of the MAC gives
    the UDP packet its host. Frames to a MAC without an FDB entry are dropped: nothing is flooded.
    """

    spec: VxlanSpec = VXLAN_DEFAULTS

    @property
    def kinds(self) -> Sequence[Kind]:
        """Kinds of the entries that it needs beside routes."""
        return ("neighbour", "fdb")

    def overhead(self, host_ip: str) -> int:
        """Bytes beside the outer Ethernet header, which is no part of an MTU.

        IP (20 or 40), UDP 8, VXLAN 8, inner Ethernet 14.
        """
        return 70 if ":" in host_ip else 50

    def device(self, name: str, local: str, mac: str, mtu: int) -> Link:
        """Return the device that is wanted on a node with the underlay address `local`."""
        vxlan = Parameters(self.spec.vni, self.spec.port, local)
        mode = ADDRGENMODE_NONE
        return Link(name, "vxlan", mac=mac, mtu=mtu, up=True, addrgenmode=mode, vxlan=vxlan)

    def entries(self, peer: Peer) -> Sequence[Entry]:
        """Return a peer's neighbour and FDB entry."""
        return ("neighbour", peer.vtep, peer.mac), ("fdb", peer.mac, peer.host_ip)

    def hop(self, peer: Peer, device: str) -> Hop:
        """Return the peer's VTEP address, on-link over the device."""
        return Hop(peer.vtep, device)

    def rests_on(self, hop: Hop, tables: Tables) -> Sequence[Mark]:
        """Return the gateway's neighbour entry, and the FDB entry of the MAC that it has now."""
        mac = tables.neighbours.held(hop.gateway)
        neighbour: Mark = ("neighbour", hop.gateway)
        return (neighbour,) if mac is None else (neighbour, ("fdb", mac))

    def order(self, tables: Tables) -> tuple[list[Entry], list[Entry]]:
        """New neighbours, FDB, moved neighbours; in removal FDB, neighbours.

        A neighbour that is to point elsewhere has traffic on it: its new FDB entry must be there first.
        """
        neighbours, fdb = tables.neighbours.pending, tables.fdb.pending
        new = {
            address: mac for address, mac in neighbours.put.items() if tables.neighbours.held(address) is None
        }
        moved = {address: mac for address, mac in neighbours.put.items() if address not in new}
        before = [*_entries("neighbour", new), *_entries("fdb", fdb.put), *_entries("neighbour", moved)]
        return before, [*_entries("fdb", fdb.drop), *_entries("neighbour", neighbours.drop)]


VXLAN = Vxlan()
"""With the settings that a network has by default; peers' entries are the same with all."""


def _entries(kind: Kind, table: dict[str, str]) -> Iterable[Entry]:
    return ((kind, key, value) for key, value in table.items())


# Which entries of a kernel are the mesh's to change: everything else is foreign and survives whatever we do.
# Ours are unicast entries on our own device and routes under the mesh's protocol number, so that an agent
# without memory recognizes what a predecessor left.


def owns_mac(mac: str) -> bool:
    """Whether an entry for `mac` on our device is the mesh's; group and default entries only flood."""
    return mac != _NO_MAC and mac[1] in _INDIVIDUAL
