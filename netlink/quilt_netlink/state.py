"""What the kernel holds, as values: equal entries mean the same kernel state, so a diff is a set operation.

Addresses are strings in canonical form (`10.42.1.0`, `10.42.1.0/24`, `fd00::/64`), MACs are lower-case and
colon-separated, interfaces are kernel indexes. IPv4 and IPv6 share the types; the address tells the family.

Entries of which a mesh has thousands are msgspec structs: made, compared and hashed in C, at a tenth of a
frozen dataclass' cost, and invisible to the garbage collector, as they refer to nothing but text and numbers.
Of the others a node has a handful: dataclasses.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

SCOPE_UNIVERSE = 0
SCOPE_LINK = 253
TABLE_MAIN = 254


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

    __match_args__ = ("ifindex", "address", "mac")

    ifindex: int
    address: str
    mac: str


class FdbEntry(Struct, frozen=True, gc=False):
    """A permanent entry of a VXLAN device's own table: frames for `mac` go to host `dst`. The MAC is the key.

    Read from the kernel, a destination with a port or VNI of its own has that appended to `dst`, so that it
    never equals a plain one.
    """

    __match_args__ = ("ifindex", "mac", "dst")

    ifindex: int
    mac: str
    dst: str


class BridgeFdbEntry(Struct, frozen=True, gc=False):
    """A MAC known to a bridge, read only: `ifindex` is the port it is behind, `master` the bridge."""

    mac: str
    ifindex: int
    master: int


class Nexthop(Struct, frozen=True, gc=False, eq=False):
    """A nexthop object; the family is the gateway's, IPv4 without one. `scope` is the kernel's finding.

    As such it is not compared: what is read equals what was written.
    """

    id: int
    ifindex: int
    gateway: str = ""
    protocol: int = 0
    onlink: bool = True
    scope: int = SCOPE_UNIVERSE

    def _compared(self) -> tuple[object, ...]:
        return (self.id, self.ifindex, self.gateway, self.protocol, self.onlink)

    def __eq__(self, other: object) -> bool:
        return self._compared() == other._compared() if isinstance(other, Nexthop) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._compared())


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


@dataclass(frozen=True, slots=True)
class BridgeGroup:
    """A member behind a bridge's port, read only; the bridge itself as `port` is a member on the host.

    `source` is empty for a member that receives the group from anybody.
    """

    bridge: int
    port: int
    group: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class VxlanGroup:
    """Packets of `group` (from `source`, where one is named) that a VXLAN device sends go to host `dst`, too.

    The kernel's key is all of it: a group has one entry for each destination.
    """

    ifindex: int
    group: str
    dst: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class BridgePort:
    """An interface of whose settings as a port its bridge tells, or that it left the bridge; watched only."""

    ifindex: int
    name: str


@dataclass(frozen=True, slots=True)
class Netconf:
    """The forwarding switches (sysctls) of an interface, or of a family (negative index); watched only."""

    ifindex: int


@dataclass(frozen=True, slots=True)
class NftTable:
    """A table of nftables in which something was made, changed or removed; watched only."""

    family: int
    name: str


GroupEntry = BridgeGroup | VxlanGroup
Watched = BridgePort | Netconf | NftTable
"""What is notified without what it is now."""

Entry = Link | Address | Neighbour | FdbEntry | Nexthop | Route | Unreachable | VxlanGroup
"""What can be written."""

Observed = Entry | BridgeFdbEntry | BridgeGroup
"""What can be read and watched."""
