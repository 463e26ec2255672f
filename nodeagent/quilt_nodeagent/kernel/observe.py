"""Reading the kernel into the core's types: normalised, so that equal state compares equal."""

from __future__ import annotations

from typing import TypeVar

from quilt_netlink import KernelLike, Link, NetlinkError, Nexthop, Route
from quilt_nodeagent.core.device import Device
from quilt_nodeagent.core.ownership import MESH_PROTOCOL, owns_mac
from quilt_nodeagent.core.state import Entries, Hop

# Linux errno of a kernel that has no nexthop objects; routes then carry their gateway themselves.
_EOPNOTSUPP = 95
V = TypeVar("V")


def read_device(link: Link | None) -> Device | None:
    """Normalise a link; a link that is no VXLAN device has VNI and port 0."""
    if link is None:
        return None
    vxlan = link.vxlan
    return Device(
        name=link.name,
        kind=link.kind,
        index=link.index,
        vni=vxlan.vni if vxlan else 0,
        port=vxlan.port if vxlan else 0,
        local=vxlan.local if vxlan else "",
        learning=vxlan.learning if vxlan else False,
        lower=vxlan.device if vxlan else 0,
        mac=link.mac,
        mtu=link.mtu,
        # Hosts without IPv6 report nothing here, and generate nothing either.
        addrgenmode=1 if link.addrgenmode is None else link.addrgenmode,
        up=link.up,
    )


def addresses_of(kernel: KernelLike, ifindex: int) -> set[str]:
    """Return the addresses of a device with their lengths, those that the kernel gives by itself left out."""
    found = {item.address for item in kernel.addresses(ifindex) if item.ifindex == ifindex}
    return {address for address in found if not address.startswith("fe80:")}


def read_layer2(kernel: KernelLike, ifindex: int, wanted: Entries | None = None) -> Entries:
    """Read our neighbours and FDB entries on the VXLAN device, in the words of `wanted` where they are as it.

    One table after the other: of thousands of entries only one reading is in memory at a time.
    """
    wanted = wanted or Entries()
    return Entries(
        _in_words_of(
            wanted.neighbours, {n.address: n.mac for n in kernel.neighbours(ifindex) if owns_mac(n.mac)}
        ),
        _in_words_of(wanted.fdb, {f.mac: f.dst for f in kernel.fdb(ifindex) if owns_mac(f.mac)}),
    )


def _in_words_of(wanted: dict[str, V], found: dict[str, V]) -> dict[str, V]:
    """Return what was found, made of the very objects of `wanted` wherever the two say the same.

    While peers come and go a reading is never quite as wanted: it must not double all the others.
    """
    if wanted == found:
        return wanted
    same = {key: value for key, value in wanted.items() if found.get(key) == value}
    return same | {key: value for key, value in found.items() if key not in same}


class RouteReader:
    """Reads the mesh's routes, over whatever devices, and keeps the nexthop objects that they stand on."""

    def __init__(self, kernel: KernelLike) -> None:
        self._kernel = kernel
        self._names: dict[int, str] = {}
        self.nexthops: dict[int, Hop] = {}

    def read(self, wanted: dict[str, Hop] | None = None) -> dict[str, Hop]:
        """Return prefix -> Hop of every route under the mesh's protocol number.

        Where one is as `wanted`, it and its nexthop object are kept in its words.
        """
        self._names.clear()
        self.nexthops = {item.id: self._over(item) for item in self._nexthops()}
        routes = self._kernel.routes(protocol=MESH_PROTOCOL)
        found = _in_words_of(wanted or {}, {route.prefix: self.hop(route) for route in routes})
        for route in routes:
            if self.nexthops.get(route.nhid) == found[route.prefix]:
                self.nexthops[route.nhid] = found[route.prefix]
        return found

    def hop(self, route: Route) -> Hop:
        """Return where a route leads; a route over a nexthop that is not known leads nowhere we want."""
        if route.nhid:
            known = self.nexthops.get(route.nhid)
            return Hop("", f"nexthop {route.nhid}") if known is None else known
        return Hop(route.gateway, self._name(route.ifindex))

    def learn(self, nexthop: Nexthop) -> None:
        """Take in a nexthop object that appeared or changed."""
        self.nexthops[nexthop.id] = self._over(nexthop)

    def _over(self, nexthop: Nexthop) -> Hop:
        return Hop(nexthop.gateway, self._name(nexthop.ifindex))

    def _nexthops(self) -> list[Nexthop]:
        try:
            return self._kernel.nexthops(protocol=MESH_PROTOCOL)
        except NetlinkError as error:
            if error.errno == _EOPNOTSUPP:
                return []
            raise

    def _name(self, ifindex: int) -> str:
        if ifindex not in self._names:
            link = self._kernel.link(ifindex)
            self._names[ifindex] = link.name if link else ""
        return self._names[ifindex]
