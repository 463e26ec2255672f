"""Reading the kernel into the core's types: normalised, so that equal state compares equal."""

from __future__ import annotations

import errno
import socket

from quilt_crds.names import MESH_PROTOCOL, VXLAN_DEVICE
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
    """Reads the mesh's routes, over whatever devices, and knows the nexthop objects that they stand on.

    The runtime numbers an object of the overlay by its gateway's address, so that the number says where it
    leads. Those of which it does not are `others`, and of thousands of peers only they are kept.
    """

    def __init__(self, kernel: KernelLike) -> None:
        self._kernel = kernel
        self._names: dict[int, str] = {}
        self._device = VXLAN_DEVICE
        self.others: dict[int, Hop] = {}

    def read(self, device: str = VXLAN_DEVICE) -> dict[str, Hop]:
        """Return prefix -> Hop of every route under the mesh's protocol number; the overlay is `device`."""
        self._device = device
        self._names.clear()
        self.others.clear()
        try:
            for nexthop in self._kernel.nexthops():
                self.learn(nexthop)
        except NetlinkError as error:
            if error.errno != errno.EOPNOTSUPP:  # a kernel without: routes carry their gateway themselves
                raise
        return {route.prefix: self.hop(route) for route in self._kernel.routes(protocol=MESH_PROTOCOL)}

    def hop(self, route: Route) -> Hop:
        """Return where a route leads."""
        return self.over(route.nhid) if route.nhid else Hop(route.gateway, self._name(route.ifindex))

    def over(self, number: int) -> Hop:
        """Return where the nexthop object of this number leads: nowhere we want, if it is not the mesh's."""
        return self.others.get(number) or Hop(socket.inet_ntoa(number.to_bytes(4)), self._device)

    def learn(self, nexthop: Nexthop) -> None:
        """Take in a nexthop object that appeared or changed."""
        self.others.pop(nexthop.id, None)
        mesh = nexthop.protocol == MESH_PROTOCOL
        hop = Hop(nexthop.gateway, self._name(nexthop.ifindex)) if mesh else Hop("", f"nexthop {nexthop.id}")
        if hop != self.over(nexthop.id):
            self.others[nexthop.id] = hop

    def _name(self, ifindex: int) -> str:
        if ifindex not in self._names:
            link = self._kernel.link(ifindex)
            self._names[ifindex] = link.name if link else ""
        return self._names[ifindex]
