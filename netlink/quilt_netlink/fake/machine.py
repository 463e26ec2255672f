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
_KINDS = frozenset({"vxlan", "bridge", "veth", "dummy"})
_ROUTES = (state.Route, state.Unreachable)
_ABSENT: dict[Any, int] = {state.Address: errno.EADDRNOTAVAIL, **dict.fromkeys(_ROUTES, errno.ESRCH)}


class Machine(KernelLike):
    """The tables, keyed as the kernel keys them; `_namespaces` are the machines behind descriptors."""

    def __init__(self) -> None:
        self._links: dict[int, state.Link] = {}
        self._entries: dict[Hashable, Any] = {}
        self._namespaces: dict[int, Machine] = {}
        self._last = 0

    def _notify(self, new: bool, entry: state.Observed) -> None: ...

    def _device(self, index: int, absent: int = errno.ENODEV, text: str = "") -> state.Link:
        if index not in self._links:
            raise NetlinkError(absent, text)
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
        elif there is None or (isinstance(entry, _ROUTES) and there.protocol != entry.protocol):
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
            more: dict[str, Any] = {"metric": 256}
            if own.version == 4:
                more = {"scope": state.SCOPE_LINK, "prefsrc": str(own.ip)}
            if own.version == 6 or own.network.prefixlen < 32:
                net = str(own.network)
                found.append(state.Route(net, _PROTOCOL_KERNEL, ifindex=entry.ifindex, **more))
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
        self._drop_all(index, state.Neighbour)

    def _went_away(self, index: int) -> None:
        """Forget everything about a device."""
        self._went_down(index)
        self._drop_all(index, state.Address, state.FdbEntry)
        self._notify(False, self._links.pop(index))

    def _drop_all(self, index: int, *kinds: type[Any]) -> None:
        for entry in [entry for kind in kinds for entry in self._all(kind) if entry.ifindex == index]:
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
        self._usable(entry.ifindex)
        if entry.gateway and not entry.onlink and not self._on_link(entry.ifindex, entry.gateway):
            raise NetlinkError(errno.ENETUNREACH, "Nexthop has invalid gateway")
        return entry

    def _usable(self, index: int, absent: int = errno.ENODEV, text: str = "") -> None:
        if not self._device(index, absent, text).up:
            raise NetlinkError(errno.ENETDOWN, "Nexthop device is not up")

    def _on_link(self, index: int, gateway: str) -> bool:
        address = ip_interface(gateway).ip
        return any(
            route.ifindex == index and not route.gateway and address in ip_network(route.prefix)
            for route in [*self._connected(), *self._all(state.Route)]
        )

    def link(self, key: str | int) -> state.Link | None:
        """Return the interface with this name or index, or None."""
        if isinstance(key, int):
            return self._links.get(key)
        return next((link for link in self._links.values() if link.name == key), None)

    def _add(self, link: state.Link) -> state.Link:
        """Put a link there as it is, with the next index and a MAC where it has none."""
        self._last = max(self._last + 1, link.index)
        index = link.index or self._last
        mac = link.mac or f"0a:00:00:00:{index >> 8:02x}:{index & 255:02x}"
        mtu = link.mtu or (1450 if link.kind == "vxlan" else 1500)
        made = replace(
            link, index=index, mac=mac, mtu=mtu, addrgenmode=link.addrgenmode or 0, peer=None, netns_fd=None
        )
        self._links[index] = made
        self._notify(True, made)
        return made

    def _create(self, link: state.Link) -> None:
        if not 0 < len(link.name) <= 15:
            raise NetlinkError(errno.EINVAL, "invalid interface name")
        if self.link(link.name):
            raise NetlinkError(errno.EEXIST)
        if link.kind not in _KINDS:
            raise NetlinkError(errno.EOPNOTSUPP, "Unknown device type")
        if link.vxlan is None and link.kind == "vxlan":
            raise NetlinkError(errno.EINVAL, "Required attributes not provided to perform the operation")
        held = {(other.vxlan.vni, other.vxlan.port) for other in self._links.values() if other.vxlan}
        if link.vxlan and (link.vxlan.vni, link.vxlan.port) in held:
            raise NetlinkError(errno.EEXIST, "A VXLAN device with the specified VNI already exists")
        if link.master and self._device(link.master).kind != "bridge":
            raise NetlinkError(errno.EOPNOTSUPP)
        target = self._namespace(link.netns_fd)
        if link.kind == "veth":
            self._create_pair(link, target)
        else:
            target._add(_with_port(link))

    def _create_pair(self, link: state.Link, target: Machine) -> None:
        peer = link.peer or state.Link("veth-peer")
        other = self._namespace(peer.netns_fd)
        if other.link(peer.name):
            raise NetlinkError(errno.EEXIST)
        made = other._add(replace(peer, kind="veth", up=False))
        end = target._add(_with_port(replace(link, link=made.index)))
        other._links[made.index] = replace(made, link=end.index)

    def _change(self, link: state.Link, now: state.Link) -> None:
        if link.vxlan and now.vxlan:
            if link.vxlan.vni != now.vxlan.vni:
                raise NetlinkError(errno.EOPNOTSUPP, "Cannot change VNI")
            if link.vxlan.port != now.vxlan.port:
                raise NetlinkError(errno.EOPNOTSUPP, "Cannot change port")
        if link.hairpin is not None and not (link.master or now.master):
            raise NetlinkError(errno.EOPNOTSUPP)
        if link.name and link.name != now.name and self.link(link.name):
            raise NetlinkError(errno.EEXIST)
        changed = _with_port(link.over(now))
        if link.netns_fd is not None:
            target = self._namespace(link.netns_fd)
            self._went_away(now.index)
            target._add(replace(changed, index=0, up=False, master=0, hairpin=None))
            return
        if changed == now:
            return
        self._links[now.index] = changed
        self._notify(True, changed)
        if now.up and not changed.up:
            self._went_down(now.index)

    def _remove(self, link: state.Link) -> None:
        if link.name == "lo":
            raise NetlinkError(errno.EOPNOTSUPP)
        self._went_away(link.index)
        for port in [port for port in self._links.values() if port.master == link.index]:
            self._links[port.index] = replace(port, master=0, hairpin=None)
        if link.kind == "veth":
            self._remove_peer(link)

    def _remove_peer(self, link: state.Link) -> None:
        for machine in (self, *self._namespaces.values()):
            peer = machine.link(link.link)
            if peer and peer.kind == "veth" and peer.link == link.index:
                machine._went_away(peer.index)
                return

    def _namespace(self, descriptor: int | None) -> Machine:
        if descriptor is None:
            return self
        if descriptor not in self._namespaces:
            raise NetlinkError(errno.EINVAL, "Invalid target network namespace")
        return self._namespaces[descriptor]


def _with_port(link: state.Link) -> state.Link:
    master = max(link.master, 0)
    return replace(link, master=master, hairpin=bool(link.hairpin) if master else None)
