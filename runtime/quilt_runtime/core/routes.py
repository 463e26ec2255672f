"""What has to be written so that routes are as asked, decided from one view of the kernel.

A route over a gateway hangs on a nexthop object, because the kernel keeps routes with a gateway of their own
in one hash chain per device and becomes quadratic (5,000 of them: 29 us each, against 2.5 us). A route
without a gateway is plain and of link scope. Routes of other programs are never changed: an item that would
is refused.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from quilt_netlink import SCOPE_LINK, Create, Delete, Nexthop, Op, Put, Route

PROTOCOL_MESH = 81
PROTOCOL_INJECTED = 82
OURS = frozenset({PROTOCOL_MESH, PROTOCOL_INJECTED})

Hop = tuple[str, int]
"""Gateway and device index: what a nexthop object stands for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A route as asked for; canonical prefix, `gateway` empty for a link-scope route."""

    prefix: str
    ifindex: int
    gateway: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What the kernel holds: every route of the main table and every nexthop object."""

    routes: Sequence[Route]
    nexthops: Sequence[Nexthop]


@dataclass(frozen=True, slots=True)
class Step:
    """A write and the item of the request that it is for."""

    item: int
    op: Op


@dataclass(slots=True)
class Plan:
    """Writes in the order they have to happen, and the items that cannot be done, with the reason."""

    nexthops: list[Step] = field(default_factory=list)
    routes: list[Step] = field(default_factory=list)
    garbage: list[Op] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


def preferred_id(gateway: str) -> int:
    """Return the nexthop id that a gateway has unless another program took it: readable from the address."""
    return int(ipaddress.ip_address(gateway)) & 0x7FFFFFFF or 1


class Planner:
    """Works items off one after the other against a view that it keeps up to date as if they were done."""

    def __init__(self, view: View, name_of: Callable[[int], str]) -> None:
        self.plan = Plan()
        self._name_of = name_of
        self._used = {nexthop.id for nexthop in view.nexthops}
        self._hops: dict[Hop, int] = {
            (nexthop.gateway, nexthop.ifindex): nexthop.id
            for nexthop in view.nexthops
            if nexthop.protocol == PROTOCOL_MESH and nexthop.gateway
        }
        self._routes: dict[str, list[Route]] = {}
        for route in view.routes:
            self._routes.setdefault(route.prefix, []).append(route)

    def add(self, item: int, wanted: Wanted, protocol: int, keep: frozenset[int] = frozenset()) -> None:
        """Plan one route; an equal one of a protocol in `keep` stays as it is."""
        held = self._routes.get(wanted.prefix, [])
        foreign = next((route for route in held if route.protocol not in OURS), None)
        if foreign is not None:
            self.plan.refused[item] = self._foreign_text(foreign)
            return
        route = self._route(item, wanted, protocol)
        if any(same_but_protocol(route, old) and old.protocol in keep | {protocol} for old in held):
            return
        self.plan.routes.append(Step(item, Put(route) if held else Create(route)))
        self._routes[wanted.prefix] = [route]

    def remove(self, item: int, prefix: str, protocols: frozenset[int]) -> None:
        """Plan the removal of our routes to a prefix; absent is done, another program's alone is refused."""
        held = self._routes.get(prefix, [])
        ours = [route for route in held if route.protocol in OURS]
        if not ours and held:
            self.plan.refused[item] = self._foreign_text(held[0])
            return
        for route in ours:
            if route.protocol in protocols:
                self.plan.routes.append(Step(item, Delete(route)))
                held.remove(route)

    def finish(self) -> Plan:
        """Add the removal of nexthop objects that no route needs any more, and return the plan."""
        needed = {route.nhid for routes in self._routes.values() for route in routes}
        for (gateway, ifindex), nhid in self._hops.items():
            if nhid not in needed:
                self.plan.garbage.append(Delete(Nexthop(nhid, ifindex, gateway, PROTOCOL_MESH)))
        return self.plan

    def _route(self, item: int, wanted: Wanted, protocol: int) -> Route:
        if not wanted.gateway:
            scope = SCOPE_LINK if ":" not in wanted.prefix else 0
            return Route(wanted.prefix, protocol, ifindex=wanted.ifindex, scope=scope)
        return Route(wanted.prefix, protocol, nhid=self._nexthop(item, wanted.gateway, wanted.ifindex))

    def _nexthop(self, item: int, gateway: str, ifindex: int) -> int:
        known = self._hops.get((gateway, ifindex))
        if known is not None:
            return known
        nhid = preferred_id(gateway)
        while nhid in self._used:
            nhid = nhid % 0x7FFFFFFF + 1
        self._used.add(nhid)
        self._hops[gateway, ifindex] = nhid
        self.plan.nexthops.append(Step(item, Create(Nexthop(nhid, ifindex, gateway, PROTOCOL_MESH))))
        return nhid

    def _foreign_text(self, route: Route) -> str:
        via = f" via {route.gateway}" if route.gateway else ""
        device = f" dev {self._name_of(route.ifindex)}" if route.ifindex else ""
        return (
            f"Route {route.prefix}{via}{device} (protocol {route.protocol}) is not ours "
            "and was left as it is; remove it first"
        )


def same_but_protocol(wanted: Route, held: Route) -> bool:
    """Whether two routes send the same packets the same way, whoever made them."""
    return (wanted.prefix, wanted.nhid, wanted.ifindex, wanted.gateway, wanted.metric) == (
        held.prefix,
        held.nhid,
        held.ifindex,
        held.gateway,
        held.metric,
    )


def described(view: View, protocols: Iterable[int]) -> list[tuple[str, str, int]]:
    """Return (prefix, gateway, device index) of the routes of these protocols, nexthop objects resolved."""
    wanted = frozenset(protocols)
    by_id = {nexthop.id: nexthop for nexthop in view.nexthops}
    found = []
    for route in view.routes:
        if route.protocol in wanted:
            hop = by_id.get(route.nhid)
            found.append(
                (route.prefix, hop.gateway if hop else route.gateway, hop.ifindex if hop else route.ifindex)
            )
    return found
