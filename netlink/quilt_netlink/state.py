"""What the kernel holds, as values: equal entries mean the same kernel state, so a diff is a set operation.

Addresses are strings in canonical form (`10.42.1.0`, `10.42.1.0/24`, `fd00::/64`), MACs are lower-case and
colon-separated, interfaces are kernel indexes. IPv4 and IPv6 share the types; the address tells the family.

Entries of which a mesh has thousands are msgspec structs: made, compared and hashed in C, at a tenth of a
frozen dataclass' cost, and invisible to the garbage collector, as they refer to nothing but text and numbers.
Of the others a node has a handful.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from msgspec import Struct

SCOPE_UNIVERSE = 0
SCOPE_LINK = 253
TABLE_MAIN, TABLE_LOCAL = 254, 255


@dataclass(frozen=True, slots=True)
class Vxlan:
    """The parameters of a VXLAN device; `device` is the index of the interface it is bound to, 0 for none."""

    vni: int
    port: int = 4789
    local: str = ""
    learning: bool = False
    device: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface.

    Written, an empty or zero value means "leave it to the kernel" or "leave it as it is"; `up` is always
    applied and `master=DETACH` removes a port from its bridge. A link with an `index` is that interface,
    whatever it is called now: writing it with another name renames it. Of `peer` (veth only) name, MAC, MTU
    and `netns_fd` are used; it is made down, as the kernel cannot raise it before it has its other end.
    `netns_fd` creates the link in, or moves it into, the namespace of that descriptor.
    """

    name: str
    kind: str = ""
    index: int = 0
    mac: str = ""
    mtu: int = 0
    up: bool = False
    master: int = 0
    link: int = 0
    addrgenmode: int | None = None
    vxlan: Vxlan | None = None
    hairpin: bool | None = None
    peer: Link | None = None
    netns_fd: int | None = None

    def over(self, now: Link) -> Link:
        """Return what writing this makes of an existing link, its kind, link and peer apart."""
        values = {name: getattr(self, name) for name in _CHANGEABLE}
        given = {name: value for name, value in values.items() if value != getattr(NO_LINK, name)}
        master = max(given.get("master", now.master), 0)
        return replace(now, **{**given, "up": self.up, "master": master})


NO_LINK = Link("")
"""A link of which nothing is asked for."""
_CHANGEABLE = ("name", "mac", "mtu", "master", "addrgenmode", "vxlan", "hairpin", "netns_fd")

DETACH = -1
"""As `Link.master`: the link shall have no master."""

ADDRGENMODE_NONE = 1
"""As `Link.addrgenmode`: the kernel generates no IPv6 link-local address."""


@dataclass(frozen=True, slots=True)
class Address:
    """An interface's own address with its prefix length, e.g. `10.42.1.1/24`; IPv6 is added without DAD."""

    ifindex: int
    address: str
    noprefixroute: bool = False
    scope: int = SCOPE_UNIVERSE


class Neighbour(Struct, frozen=True, gc=False):
    """A permanent neighbour entry; the kernel's key is (ifindex, address).

    A Delete removes any entry under the key, permanent or learned, whatever `mac` says.
    """

    ifindex: int
    address: str
    mac: str


class FdbEntry(Struct, frozen=True, gc=False):
    """A permanent entry of a VXLAN device's own table: frames for `mac` go to host `dst`. The MAC is the key.

    Read from the kernel, a destination with a port or VNI of its own has that appended to `dst`, so that it
    never equals a plain one.
    """

    ifindex: int
    mac: str
    dst: str


class BridgeFdbEntry(Struct, frozen=True, gc=False):
    """A MAC known to a bridge, read only: `ifindex` is the port it is behind, `master` the bridge."""

    mac: str
    ifindex: int
    master: int


class Nexthop(Struct, frozen=True, gc=False):
    """A nexthop object; the family is the gateway's, IPv4 without one."""

    id: int
    ifindex: int
    gateway: str = ""
    protocol: int = 0
    onlink: bool = True


class Route(Struct, frozen=True, gc=False):
    """A unicast route; the kernel's key is (table, prefix, metric).

    Read from the kernel, a route over a nexthop object has `nhid` and neither device nor gateway, and IPv6's
    default metric of 1024 is 0, so that what is read equals what was written.
    """

    prefix: str
    protocol: int
    nhid: int = 0
    ifindex: int = 0
    gateway: str = ""
    onlink: bool = False
    scope: int = SCOPE_UNIVERSE
    table: int = TABLE_MAIN
    prefsrc: str = ""
    metric: int = 0


class Unreachable(Struct, frozen=True, gc=False):
    """A prefix to which the kernel refuses to send (`unreachable` of ip-route(8)), beside any routes to it.

    The kernel's key is (table, prefix, metric). A change is notified as that of a route that is gone.
    """

    prefix: str
    protocol: int
    metric: int = 0
    table: int = TABLE_MAIN


class BridgeGroup(Struct, frozen=True):
    """A member behind a bridge's port, read only; the bridge itself as `port` is a member on the host.

    `source` is empty for a member that receives the group from anybody.
    """

    bridge: int
    port: int
    group: str
    source: str = ""


class VxlanGroup(Struct, frozen=True):
    """Packets of `group` (from `source`, where one is named) that a VXLAN device sends go to host `dst`, too.

    The kernel's key is all of it: a group has one entry for each destination.
    """

    ifindex: int
    group: str
    dst: str
    source: str = ""


class Rule(Struct, frozen=True):
    """Packets from `source` are looked up in `table`; lower `priority` comes first.

    Or those that come in by `interface` (a name), in a table of IPv4 multicast routes.
    """

    table: int
    priority: int
    source: str = ""
    interface: str = ""


class MulticastRoute(Struct, frozen=True):
    """Packets from `source` to `group` that come in by `iif` leave by `oifs`: indexes, 0 for one gone."""

    table: int
    source: str
    group: str
    iif: int
    oifs: frozenset[int] = frozenset()


class BridgePort(Struct, frozen=True):
    """An interface of whose settings as a port its bridge tells, or that it left the bridge; watched only."""

    ifindex: int
    name: str


class Netconf(Struct, frozen=True):
    """The forwarding switches (sysctls) of an interface, or of a family (negative index); watched only."""

    ifindex: int


class NftTable(Struct, frozen=True):
    """A table of nftables in which something was made, changed or removed; watched only."""

    family: int
    name: str


GroupEntry = BridgeGroup | VxlanGroup
Watched = BridgePort | Netconf | NftTable
"""What is notified without what it is now."""

Entry = Link | Address | Neighbour | FdbEntry | Nexthop | Route | Unreachable | VxlanGroup | Rule
"""What can be written."""

Observed = Entry | BridgeFdbEntry | BridgeGroup
"""What can be read and watched."""


class Change(Struct, frozen=True):
    """An entry as the kernel has it now (`new`), or as it was when it went."""

    new: bool
    entry: Observed | Watched


class Overrun(Struct, frozen=True):
    """Events were lost: read the state again. Everything notified before this may be stale."""


Event = Change | Overrun


def _fdb_key(entry: FdbEntry) -> Hashable:
    """Only the all-zero MAC may have several destinations."""
    return (entry.ifindex, entry.mac, entry.dst if entry.mac == "00:00:00:00:00:00" else "")


_KEYS: dict[Any, Callable[[Any], Hashable]] = {
    Link: attrgetter("index"),
    Address: attrgetter("ifindex", "address"),
    Neighbour: attrgetter("ifindex", "address"),
    FdbEntry: _fdb_key,
    BridgeFdbEntry: attrgetter("master", "mac"),
    Nexthop: attrgetter("id"),
    Route: attrgetter("table", "prefix", "metric"),
    Unreachable: attrgetter("table", "prefix", "metric"),
    BridgeGroup: attrgetter("bridge", "port", "group", "source"),
    VxlanGroup: attrgetter("ifindex", "group", "dst", "source"),
    BridgePort: attrgetter("ifindex"),
    Netconf: attrgetter("ifindex"),
    NftTable: attrgetter("family", "name"),
}


def key_of(entry: Observed | Watched) -> Hashable:
    """Return what the kernel tells entries apart by; a later state replaces the one under its key."""
    return (type(entry), _KEYS[type(entry)](entry))
