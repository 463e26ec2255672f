"""The state of an imaginary network namespace, and the kernel's rules on what may be written to it.

Only rules that users of the library can run into are here, each as a real kernel has it: the contract suite
runs the same tests on both.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import TypeVar

from msgspec.structs import replace as replace_entry

from quilt_netlink.errors import NetlinkError
from quilt_netlink.event_queue import key_of
from quilt_netlink.messages import pack_ip, pack_mac
from quilt_netlink.ops import Create, Delete, Op
from quilt_netlink.state import (
    SCOPE_LINK,
    Address,
    FdbEntry,
    Link,
    Neighbour,
    Nexthop,
    Observed,
    Route,
    Unreachable,
)

K = TypeVar("K")
V = TypeVar("V")
Notify = Callable[[bool, Observed], None]
_PROTOCOL_KERNEL = 2


def refuse(number: int, text: str = "") -> NetlinkError:
    """Return what the kernel would answer."""
    return NetlinkError(number, text)


class Machine:
    """The tables, keyed as the kernel keys them."""

    def __init__(self, notify: Notify) -> None:
        self.notify = notify
        self.links: dict[int, Link] = {}
        self.addresses: dict[tuple[int, str], Address] = {}
        self.neighbours: dict[tuple[int, str], Neighbour] = {}
        self.fdb: dict[object, FdbEntry] = {}
        self.nexthops: dict[int, Nexthop] = {}
        self.routes: dict[tuple[int, str, int], Route] = {}
        self.unreachables: dict[tuple[int, str, int], Unreachable] = {}

    def device(self, index: int) -> Link:
        """Return a link; refused with ENODEV when there is none."""
        if index not in self.links:
            raise refuse(errno.ENODEV)
        return self.links[index]

    def address(self, op: Op, entry: Address) -> None:
        """Write an address."""
        self.device(entry.ifindex)
        text = str(ip_interface(entry.address))
        self._store(
            self.addresses, (entry.ifindex, text), op, replace(entry, address=text), errno.EADDRNOTAVAIL
        )

    def neighbour(self, op: Op, entry: Neighbour) -> None:
        """Write a neighbour; IPv6 asks for the device to be up."""
        pack_ip(entry.address)
        if not isinstance(op, Delete):
            pack_mac(entry.mac)
        self.device(entry.ifindex)
        self._store(self.neighbours, (entry.ifindex, entry.address), op, entry, errno.ENOENT)

    def forward(self, op: Op, entry: FdbEntry) -> None:
        """Write an entry of a VXLAN device's table; the destination is of the device's own family."""
        pack_mac(entry.mac)
        vxlan = self.device(entry.ifindex).vxlan
        if vxlan is None:
            raise refuse(errno.EOPNOTSUPP, "the device has no forwarding table of its own")
        if (
            entry.dst
            and (len(pack_ip(entry.dst)) == 16) != (":" in vxlan.local)
            and not isinstance(op, Delete)
        ):
            raise refuse(errno.EAFNOSUPPORT)
        there = self.fdb.get(key_of(entry))
        if isinstance(op, Delete) and there and entry.dst not in ("", there.dst):
            return  # the kernel removes only a destination that is there, and says nothing
        self._store(self.fdb, key_of(entry), op, entry, errno.ENOENT)

    def nexthop(self, op: Op, entry: Nexthop) -> None:
        """Write a nexthop object; one that goes takes its routes with it, IPv4 ones silently."""
        if isinstance(op, Delete):
            self._store(self.nexthops, entry.id, op, entry, errno.ENOENT)
            self.drop_routes(lambda route: route.nhid == entry.id)
            return
        if entry.gateway:
            pack_ip(entry.gateway)
        self._usable(entry.ifindex, errno.EINVAL, "Invalid device index")
        self._store(self.nexthops, entry.id, op, entry, errno.ENOENT)

    def route(self, op: Op, entry: Route) -> None:
        """Write a route; it needs its nexthop object, or its device up and its gateway reachable there."""
        try:
            prefix = str(ip_network(entry.prefix))
        except ValueError as error:
            raise refuse(errno.EINVAL, "Invalid prefix for given prefix length") from error
        key = (entry.table, prefix, entry.metric)
        if isinstance(op, Delete):
            there = self.routes.get(key)
            if there is None or there.protocol != entry.protocol:
                raise refuse(errno.ESRCH)
        elif entry.nhid:
            if entry.nhid not in self.nexthops:
                raise refuse(errno.EINVAL, "Nexthop id does not exist")
            entry = replace_entry(entry, ifindex=0, gateway="", onlink=False)
        else:
            self._usable(entry.ifindex, errno.ENODEV, "")
            if entry.gateway and not entry.onlink and not self._on_link(entry.ifindex, entry.gateway):
                raise refuse(errno.ENETUNREACH, "Nexthop has invalid gateway")
        self._store(self.routes, key, op, replace_entry(entry, prefix=prefix), errno.ESRCH)

    def unreachable(self, op: Op, entry: Unreachable) -> None:
        """Write an unreachable prefix; its change is told as that of a route that is gone."""
        key = (entry.table, str(ip_network(entry.prefix)), entry.metric)
        there = self.unreachables.get(key)
        if isinstance(op, Delete):
            if there is None or there.protocol != entry.protocol:
                raise refuse(errno.ESRCH)
            del self.unreachables[key]
        elif isinstance(op, Create) and there is not None:
            raise refuse(errno.EEXIST)
        else:
            self.unreachables[key] = entry
        self.notify(False, Route(entry.prefix, entry.protocol, table=entry.table, metric=entry.metric))

    def connected(self) -> list[Route]:
        """Return the routes that the kernel makes for the addresses of devices that are up."""
        found = []
        for entry in self.addresses.values():
            if entry.noprefixroute or not self.links[entry.ifindex].up or entry.scope:
                continue
            own = ip_interface(entry.address)
            net = str(own.network)
            if own.version == 6:
                found.append(Route(net, _PROTOCOL_KERNEL, ifindex=entry.ifindex, metric=256))
            elif own.network.prefixlen < 32:
                source = str(own.ip)
                route = Route(net, _PROTOCOL_KERNEL, ifindex=entry.ifindex, scope=SCOPE_LINK, prefsrc=source)
                found.append(route)
        return found

    def went_down(self, index: int) -> None:
        """Forget what dies when a device goes down; its forwarding table and addresses stay."""
        gone = {nexthop.id for nexthop in self.nexthops.values() if nexthop.ifindex == index}
        self.nexthops = {key: nexthop for key, nexthop in self.nexthops.items() if key not in gone}
        self.drop_routes(lambda route: route.ifindex == index or route.nhid in gone)
        for key in [key for key in self.neighbours if key[0] == index]:
            self.notify(False, self.neighbours.pop(key))

    def went_away(self, index: int) -> None:
        """Forget everything about a device."""
        self.went_down(index)
        for place in [key for key in self.addresses if key[0] == index]:
            self.notify(False, self.addresses.pop(place))
        for key in [key for key, entry in self.fdb.items() if entry.ifindex == index]:
            self.notify(False, self.fdb.pop(key))
        self.notify(False, self.links.pop(index))

    def drop_routes(self, gone: Callable[[Route], bool]) -> None:
        """Remove routes as a side effect, of which the kernel tells only for IPv6."""
        for key in [key for key, route in self.routes.items() if gone(route)]:
            route = self.routes.pop(key)
            if ":" in route.prefix:
                self.notify(False, route)

    def _usable(self, index: int, absent: int, text: str) -> None:
        if index not in self.links:
            raise refuse(absent, text)
        if not self.links[index].up:
            raise refuse(errno.ENETDOWN, "Nexthop device is not up")

    def _on_link(self, index: int, gateway: str) -> bool:
        address = ip_interface(gateway).ip
        routes = [*self.connected(), *self.routes.values()]
        return any(
            route.ifindex == index and not route.gateway and address in ip_network(route.prefix)
            for route in routes
        )

    def _store(self, table: dict[K, V], key: K, op: Op, entry: V, absent: int) -> None:
        there = table.get(key)
        if isinstance(op, Delete):
            if there is None:
                raise refuse(absent)
            del table[key]
            self.notify(False, there)  # type: ignore[arg-type]  # every table holds observable entries
            return
        if there is not None and isinstance(op, Create):
            raise refuse(errno.EEXIST)
        table[key] = entry
        self.notify(True, entry)  # type: ignore[arg-type]  # as above
