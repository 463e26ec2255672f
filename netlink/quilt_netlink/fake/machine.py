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

from quilt_netlink import state
from quilt_netlink.interface import KernelLike
from quilt_netlink.ops import Append, Create, Delete, NetlinkError, Op
from quilt_netlink.writes import ENCODERS

T = TypeVar("T")
_PROTOCOL_KERNEL = 2
_ABSENT = {state.Address: errno.EADDRNOTAVAIL, state.Route: errno.ESRCH, state.Unreachable: errno.ESRCH}


class Machine(KernelLike):
    """The tables, keyed as the kernel keys them."""

    def __init__(self) -> None:
        self._links: dict[int, state.Link] = {}
        self._entries: dict[Hashable, Any] = {}

    def _notify(self, new: bool, entry: state.Observed) -> None:
        """Tell who watches of a change."""

    def _device(self, index: int) -> state.Link:
        if index not in self._links:
            raise NetlinkError(errno.ENODEV)
        return self._links[index]

    def _all(self, kind: type[T]) -> list[T]:
        """Return the entries of one kind, links apart."""
        return [entry for entry in self._entries.values() if isinstance(entry, kind)]

    def _write_entry(self, op: Op) -> None:
        """Do one operation on an entry, links apart."""
        ENCODERS[type(op.entry)](type(op), op.entry, 0)  # raises for what is no address
        gone = isinstance(op, Delete)
        entry = self._checked(op.entry, gone)
        there = self._entries.get(state.key_of(entry))
        if isinstance(op, Append):
            raise NetlinkError(errno.EOPNOTSUPP, "a MAC has one destination here")
        if not gone:
            if there is not None and isinstance(op, Create):
                raise NetlinkError(errno.EEXIST)
            self._entries[state.key_of(entry)] = entry
            self._tell(True, entry)
        elif there is None or (
            isinstance(entry, state.Route | state.Unreachable) and there.protocol != entry.protocol
        ):
            raise NetlinkError(_ABSENT.get(type(entry), errno.ENOENT))
        elif not isinstance(entry, state.FdbEntry) or entry.dst in ("", there.dst):
            # Of an FDB entry the kernel removes only a destination that is there, and says nothing.
            self._drop(there)
            if isinstance(entry, state.Nexthop):
                self._drop_routes(lambda route: route.nhid == entry.id)

    def _connected(self) -> list[state.Route]:
        """Return the routes that the kernel makes for the addresses of devices that are up."""
        found = []
        for entry in self._all(state.Address):
            if entry.noprefixroute or not self._links[entry.ifindex].up or entry.scope:
                continue
            own = ip_interface(entry.address)
            net = str(own.network)
            if own.version == 6:
                found.append(state.Route(net, _PROTOCOL_KERNEL, ifindex=entry.ifindex, metric=256))
            elif own.network.prefixlen < 32:
                source = str(own.ip)
                route = state.Route(
                    net, _PROTOCOL_KERNEL, ifindex=entry.ifindex, scope=state.SCOPE_LINK, prefsrc=source
                )
                found.append(route)
        return found

    def _expand(self, route: state.Route) -> state.Route:
        """Return a route with the device and gateway of its nexthop object."""
        over = self._entries.get((state.Nexthop, route.nhid))
        return replace_entry(route, ifindex=over.ifindex, gateway=over.gateway) if over else route

    def _went_down(self, index: int) -> None:
        """Forget what dies when a device is set down; its forwarding table and addresses stay."""
        gone = {nexthop.id: nexthop for nexthop in self._all(state.Nexthop) if nexthop.ifindex == index}
        for nexthop in gone.values():
            del self._entries[state.key_of(nexthop)]
        self._drop_routes(lambda route: route.ifindex == index or route.nhid in gone)
        self._drop_all(state.Neighbour, index)

    def _went_away(self, index: int) -> None:
        """Forget everything about a device."""
        self._went_down(index)
        self._drop_all(state.Address, index)
        self._drop_all(state.FdbEntry, index)
        self._notify(False, self._links.pop(index))

    def _drop_all(self, kind: type[state.Address | state.Neighbour | state.FdbEntry], index: int) -> None:
        for entry in self._all(kind):
            if entry.ifindex == index:
                self._drop(entry)

    def _drop_routes(self, gone: Callable[[state.Route], bool]) -> None:
        """Remove routes as a side effect, of which the kernel tells only for IPv6."""
        for route in filter(gone, self._all(state.Route)):
            del self._entries[state.key_of(route)]
            if ":" in route.prefix:
                self._notify(False, route)

    def _drop(self, entry: Any) -> None:
        del self._entries[state.key_of(entry)]
        self._tell(False, entry)

    def _tell(self, new: bool, entry: Any) -> None:
        """Notify; the change of an unreachable prefix is notified as that of a route that is gone."""
        if isinstance(entry, state.Unreachable):
            new = False
            entry = state.Route(entry.prefix, entry.protocol, table=entry.table, metric=entry.metric)
        self._notify(new, entry)

    def _checked(self, entry: Any, gone: bool) -> Any:
        """Return an entry as the kernel would keep it; raises NetlinkError where it would refuse it."""
        match entry:
            case state.Address(ifindex=index, address=address):
                self._device(index)
                return replace(entry, address=str(ip_interface(address)))
            case state.Neighbour(ifindex=index):
                self._device(index)
            case state.FdbEntry(ifindex=index, dst=dst):
                vxlan = self._device(index).vxlan
                if vxlan is None:
                    raise NetlinkError(errno.EOPNOTSUPP, "the device has no forwarding table of its own")
                if dst and not gone and (":" in dst) != (":" in vxlan.local):  # it is of the device's family
                    raise NetlinkError(errno.EAFNOSUPPORT)
            case state.Nexthop(ifindex=index) if not gone:
                self._usable(index, errno.EINVAL, "Invalid device index")
            case state.Route():
                return self._route(entry, gone)
            case state.Unreachable(prefix=prefix):
                return replace_entry(entry, prefix=str(ip_network(prefix)))
        return entry

    def _route(self, entry: state.Route, gone: bool) -> state.Route:
        """It needs its nexthop object, or its device up and its gateway reachable there."""
        try:
            entry = replace_entry(entry, prefix=str(ip_network(entry.prefix)))
        except ValueError as error:
            raise NetlinkError(errno.EINVAL, "Invalid prefix for given prefix length") from error
        if gone:
            return entry
        if entry.nhid:
            if (state.Nexthop, entry.nhid) not in self._entries:
                raise NetlinkError(errno.EINVAL, "Nexthop id does not exist")
            return replace_entry(entry, ifindex=0, gateway="", onlink=False)
        self._usable(entry.ifindex, errno.ENODEV, "")
        if entry.gateway and not entry.onlink and not self._on_link(entry.ifindex, entry.gateway):
            raise NetlinkError(errno.ENETUNREACH, "Nexthop has invalid gateway")
        return entry

    def _usable(self, index: int, absent: int, text: str) -> None:
        if index not in self._links:
            raise NetlinkError(absent, text)
        if not self._links[index].up:
            raise NetlinkError(errno.ENETDOWN, "Nexthop device is not up")

    def _on_link(self, index: int, gateway: str) -> bool:
        address = ip_interface(gateway).ip
        return any(
            route.ifindex == index and not route.gateway and address in ip_network(route.prefix)
            for route in [*self._connected(), *self._all(state.Route)]
        )
