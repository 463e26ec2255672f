"""The state of an imaginary network namespace, and the kernel's rules on what may be written to it.

Only rules that users of the library can run into are here, each as a real kernel has it: the contract suite
runs the same tests on both.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Hashable
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import Any, TypeVar

from msgspec.structs import replace as replace_entry

from quilt_netlink.errors import NetlinkError
from quilt_netlink.event_queue import key_of
from quilt_netlink.ops import Append, Create, Delete, Op
from quilt_netlink.shapes import pack_ip, pack_mac
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

T = TypeVar("T")
Notify = Callable[[bool, Observed], None]
_PROTOCOL_KERNEL = 2
_ABSENT = {Address: errno.EADDRNOTAVAIL, Route: errno.ESRCH, Unreachable: errno.ESRCH}


def refuse(number: int, text: str = "") -> NetlinkError:
    """Return what the kernel would answer."""
    return NetlinkError(number, text)


class Machine:
    """The tables, keyed as the kernel keys them."""

    def __init__(self, notify: Notify) -> None:
        self.notify = notify
        self.links: dict[int, Link] = {}
        self._entries: dict[Hashable, Any] = {}
        self._checks: dict[Any, Callable[[Op, Any], Any]] = {
            Address: self._address,
            Neighbour: self._neighbour,
            FdbEntry: self._fdb,
            Nexthop: self._nexthop,
            Route: self._route,
            Unreachable: self._unreachable,
        }

    def device(self, index: int) -> Link:
        """Return a link; refused with ENODEV when it does not exist."""
        if index not in self.links:
            raise refuse(errno.ENODEV)
        return self.links[index]

    def all(self, kind: type[T]) -> list[T]:
        """Return the entries of one kind, links apart."""
        return [entry for entry in self._entries.values() if isinstance(entry, kind)]

    def write(self, op: Op) -> None:
        """Do one operation on an entry, links apart."""
        entry = self._checks[type(op.entry)](op, op.entry)
        there = self._entries.get(key_of(entry))
        if isinstance(op, Append):
            raise refuse(errno.EOPNOTSUPP, "a MAC has one destination here")
        if not isinstance(op, Delete):
            if there is not None and isinstance(op, Create):
                raise refuse(errno.EEXIST)
            self._entries[key_of(entry)] = entry
            self._tell(True, entry)
        elif there is None:
            raise refuse(_ABSENT.get(type(entry), errno.ENOENT))
        elif not isinstance(entry, FdbEntry) or entry.dst in ("", there.dst):
            # Of an FDB entry the kernel removes only a destination that is there, and says nothing.
            self._drop(there)
            if isinstance(entry, Nexthop):
                self._drop_routes(lambda route: route.nhid == entry.id)

    def connected(self) -> list[Route]:
        """Return the routes that the kernel makes for the addresses of devices that are up."""
        found = []
        for entry in self.all(Address):
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

    def expand(self, route: Route) -> Route:
        """Return a route with the device and gateway of its nexthop object."""
        over = self._entries.get((Nexthop, route.nhid))
        return replace_entry(route, ifindex=over.ifindex, gateway=over.gateway) if over else route

    def went_down(self, index: int) -> None:
        """Forget what dies when a device is set down; its forwarding table and addresses stay."""
        gone = {nexthop.id: nexthop for nexthop in self.all(Nexthop) if nexthop.ifindex == index}
        for nexthop in gone.values():
            del self._entries[key_of(nexthop)]
        self._drop_routes(lambda route: route.ifindex == index or route.nhid in gone)
        self._drop_all(Neighbour, index)

    def went_away(self, index: int) -> None:
        """Forget everything about a device."""
        self.went_down(index)
        self._drop_all(Address, index)
        self._drop_all(FdbEntry, index)
        self.notify(False, self.links.pop(index))

    def _drop_all(self, kind: type[Address | Neighbour | FdbEntry], index: int) -> None:
        for entry in self.all(kind):
            if entry.ifindex == index:
                self._drop(entry)

    def _drop_routes(self, gone: Callable[[Route], bool]) -> None:
        """Remove routes as a side effect, of which the kernel tells only for IPv6."""
        for route in filter(gone, self.all(Route)):
            del self._entries[key_of(route)]
            if ":" in route.prefix:
                self.notify(False, route)

    def _drop(self, entry: Any) -> None:
        del self._entries[key_of(entry)]
        self._tell(False, entry)

    def _tell(self, new: bool, entry: Any) -> None:
        """Notify; the change of an unreachable prefix is notified as that of a route that is gone."""
        if isinstance(entry, Unreachable):
            new = False
            entry = Route(entry.prefix, entry.protocol, table=entry.table, metric=entry.metric)
        self.notify(new, entry)

    def _address(self, op: Op, entry: Address) -> Address:
        self.device(entry.ifindex)
        return replace(entry, address=str(ip_interface(entry.address)))

    def _neighbour(self, op: Op, entry: Neighbour) -> Neighbour:
        pack_ip(entry.address)
        if not isinstance(op, Delete):
            pack_mac(entry.mac)
        self.device(entry.ifindex)
        return entry

    def _fdb(self, op: Op, entry: FdbEntry) -> FdbEntry:
        """The destination is of the device's own family."""
        pack_mac(entry.mac)
        vxlan = self.device(entry.ifindex).vxlan
        if vxlan is None:
            raise refuse(errno.EOPNOTSUPP, "the device has no forwarding table of its own")
        other = entry.dst and (len(pack_ip(entry.dst)) == 16) != (":" in vxlan.local)
        if other and not isinstance(op, Delete):
            raise refuse(errno.EAFNOSUPPORT)
        return entry

    def _nexthop(self, op: Op, entry: Nexthop) -> Nexthop:
        if not isinstance(op, Delete):
            if entry.gateway:
                pack_ip(entry.gateway)
            self._usable(entry.ifindex, errno.EINVAL, "Invalid device index")
        return entry

    def _route(self, op: Op, entry: Route) -> Route:
        """It needs its nexthop object, or its device up and its gateway reachable there."""
        try:
            entry = replace_entry(entry, prefix=str(ip_network(entry.prefix)))
        except ValueError as error:
            raise refuse(errno.EINVAL, "Invalid prefix for given prefix length") from error
        if isinstance(op, Delete):
            return self._of_its_protocol(entry)
        if entry.nhid:
            if (Nexthop, entry.nhid) not in self._entries:
                raise refuse(errno.EINVAL, "Nexthop id does not exist")
            return replace_entry(entry, ifindex=0, gateway="", onlink=False)
        self._usable(entry.ifindex, errno.ENODEV, "")
        if entry.gateway and not entry.onlink and not self._on_link(entry.ifindex, entry.gateway):
            raise refuse(errno.ENETUNREACH, "Nexthop has invalid gateway")
        return entry

    def _unreachable(self, op: Op, entry: Unreachable) -> Unreachable:
        entry = replace_entry(entry, prefix=str(ip_network(entry.prefix)))
        return self._of_its_protocol(entry) if isinstance(op, Delete) else entry

    def _of_its_protocol(self, entry: T) -> T:
        there = self._entries.get(key_of(entry))  # type: ignore[arg-type]  # a Route or Unreachable
        if there is None or there.protocol != entry.protocol:  # type: ignore[attr-defined]  # as above
            raise refuse(errno.ESRCH)
        return entry

    def _usable(self, index: int, absent: int, text: str) -> None:
        if index not in self.links:
            raise refuse(absent, text)
        if not self.links[index].up:
            raise refuse(errno.ENETDOWN, "Nexthop device is not up")

    def _on_link(self, index: int, gateway: str) -> bool:
        address = ip_interface(gateway).ip
        return any(
            route.ifindex == index and not route.gateway and address in ip_network(route.prefix)
            for route in [*self.connected(), *self.all(Route)]
        )
