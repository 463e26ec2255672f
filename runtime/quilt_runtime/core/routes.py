"""What makes one route as asked, decided from what the kernel holds at its destination.

A route over a gateway hangs on a next hop object, because the kernel keeps routes with a gateway of their own
in one hash chain per device and becomes quadratic (5,000 of them: 29 us each, against 2.5 us). Only where the
kernel has no such objects the route carries its gateway itself. A route without a gateway is plain and of
link scope. Routes of other programs are never changed: an item that would is refused.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from quilt_crds.names import MESH_PROTOCOL, ROUTE_PROTOCOLS
from quilt_netlink.ops import Create, Op, Put
from quilt_netlink.shapes import pack_ip
from quilt_netlink.state import SCOPE_LINK, Nexthop, Route

OURS = frozenset(ROUTE_PROTOCOLS)
LOWEST_PREFERENCE = 0xFFFFFFFF
"""The metric of what refuses: any other route of the same prefix goes before it, whoever's it is."""

Hop = tuple[str, int]
"""Gateway and device index: what a next hop object stands for."""


class Wanted(NamedTuple):
    """A route as asked for; canonical prefix, `gateway` empty for a link-scope route."""

    prefix: str
    ifindex: int
    gateway: str = ""

    def over(self, nhid: int, protocol: int) -> Route:
        """Return the route to write; `nhid` is the next hop object's, 0 where the kernel has none."""
        if not self.gateway:
            scope = SCOPE_LINK if ":" not in self.prefix else 0
            return Route(self.prefix, protocol, ifindex=self.ifindex, scope=scope)
        if not nhid:
            return Route(self.prefix, protocol, ifindex=self.ifindex, gateway=self.gateway, onlink=True)
        return Route(self.prefix, protocol, nhid=nhid)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item; `error` empty on success, `changed` where something was written for it."""

    error: str = ""
    retryable: bool = False
    changed: bool = False
    raced: bool = False
    """Another program wrote between the look and the writing: the call tries again."""


class Asked(NamedTuple):
    """An add as asked for, already checked: canonical destination, gateway empty for a link-scope route."""

    destination: str
    gateway: str
    interface: str


@dataclass(frozen=True, slots=True)
class Terms:
    """How a call writes: as `protocol`; removes only `removable`; an equal route of `keep` will do.

    A `careful` call looks at the whole table where one look-up does not tell all that is at a destination.
    """

    protocol: int
    removable: frozenset[int] = frozenset()
    keep: frozenset[int] = frozenset()
    careful: bool = False


UNCHANGED, CHANGED = Outcome(), Outcome(changed=True)


def preferred_id(gateway: str) -> int:
    """Return the next hop id that a gateway has unless another program took it: readable from the address."""
    if ":" in gateway:
        # Node subnets differ in the upper half; bit 30 keeps off the low numbers, which people choose.
        value = int(ipaddress.IPv6Address(gateway))
        return (value >> 64 ^ value) & 0x3FFFFFFF | 0x40000000
    # Thousands at a time, so not by way of an IPv4Address each.
    return int.from_bytes(pack_ip(gateway)) & 0x7FFFFFFF or 1


def free_id(gateway: str, taken: Collection[int]) -> int:
    """Return the first id from the preferred one on that nobody has."""
    nhid = preferred_id(gateway)
    while nhid in taken:
        nhid = nhid % 0x7FFFFFFF + 1
    return nhid


def foreign(held: Sequence[Route], *, beside_ours: bool) -> Route | None:
    """Return another program's route at a destination, which stands in the way: of an addition always, of a
    removal only where there is none of ours.
    """
    others = [route for route in held if route.protocol not in OURS]
    return others[0] if others and (beside_ours or len(others) == len(held)) else None


def addition(route: Route, held: Sequence[Route], keep: frozenset[int]) -> Op | None:
    """Return what makes a route, None where it or an equal one of a protocol in `keep` is there."""
    if any(same_but_protocol(route, old) and old.protocol in {route.protocol, *keep} for old in held):
        return None
    return Put(route) if held else Create(route)


def unused(nexthops: Iterable[Nexthop], routes: Iterable[Route]) -> list[Nexthop]:
    """Return our next hop objects that no route uses."""
    used = {route.nhid for route in routes}
    return [nexthop for nexthop in nexthops if nexthop.protocol == MESH_PROTOCOL and nexthop.id not in used]


def same_but_protocol(wanted: Route, held: Route) -> bool:
    """Whether two routes send the same packets the same way, whoever made them."""
    return (wanted.prefix, wanted.nhid, wanted.ifindex, wanted.gateway, wanted.metric) == (
        held.prefix,
        held.nhid,
        held.ifindex,
        held.gateway,
        held.metric,
    )


def described(routes: Iterable[Route], nexthops: Iterable[Nexthop]) -> list[tuple[str, str, int]]:
    """Return (prefix, gateway, device index) of routes, next hop objects resolved."""
    by_id = {nexthop.id: nexthop for nexthop in nexthops}
    sources = ((route.prefix, by_id.get(route.nhid) or route) for route in routes)
    return [(prefix, source.gateway, source.ifindex) for prefix, source in sources]
