"""Reading the kernel into the core's types: normalised, so that equal state compares equal."""

from __future__ import annotations

import errno
import socket
from sys import intern

from quilt_crds.names import MESH_PROTOCOL
from quilt_netlink import KernelLike, NetlinkError, Nexthop, Route
from quilt_nodeagent.core.overlay import LOWEST_PREFERENCE, Hop, owns_mac


def addresses_of(kernel: KernelLike, ifindex: int) -> set[str]:
    """Return the addresses of a device with their lengths, those that the kernel gives by itself left out."""
    return {item.address for item in kernel.addresses(ifindex) if not item.address.startswith("fe80:")}


def read_neighbours(kernel: KernelLike, ifindex: int) -> dict[str, str]:
    """Read our neighbours on the VXLAN device: VTEP address -> MAC."""
    return {entry.address: entry.mac for entry in kernel.neighbours(ifindex) if owns_mac(entry.mac)}


def read_fdb(kernel: KernelLike, ifindex: int) -> dict[str, str]:
    """Read our entries in the forwarding table of the VXLAN device: MAC -> host IP."""
    return {entry.mac: entry.dst for entry in kernel.fdb(ifindex) if owns_mac(entry.mac)}


def read_unreachable(kernel: KernelLike) -> dict[str, bool]:
    """Read the prefixes that the mesh has refused where no route leads."""
    found = kernel.unreachables(protocol=MESH_PROTOCOL)
    return {entry.prefix: True for entry in found if entry.metric == LOWEST_PREFERENCE}


def has_ipv6() -> bool:
    """Whether the kernel has IPv6 (not `ipv6.disable=1`): without, it sends nothing of it in clear either."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True


class RouteReader:
    """Reads the mesh's routes, over whatever devices, and keeps the nexthop objects that they stand on."""

    def __init__(self, kernel: KernelLike) -> None:
        self._kernel = kernel
        self._names: dict[int, str] = {}
        self.nexthops: dict[int, Hop] = {}

    def read(self) -> dict[str, Hop]:
        """Return prefix -> Hop of every route under the mesh's protocol number."""
        self._names.clear()
        self.nexthops = {item.id: self._over(item) for item in self._nexthops()}
        return {route.prefix: self.hop(route) for route in self._kernel.routes(protocol=MESH_PROTOCOL)}

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
        return Hop(intern(nexthop.gateway), self._name(nexthop.ifindex))

    def _nexthops(self) -> list[Nexthop]:
        try:
            return self._kernel.nexthops(protocol=MESH_PROTOCOL)
        except NetlinkError as error:
            if error.errno == errno.EOPNOTSUPP:
                return []  # a kernel that has no nexthop objects: routes carry their gateway themselves
            raise

    def _name(self, ifindex: int) -> str:
        if ifindex not in self._names:
            link = self._kernel.link(ifindex)
            self._names[ifindex] = link.name if link else ""
        return self._names[ifindex]
