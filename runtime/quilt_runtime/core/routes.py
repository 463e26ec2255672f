"""What has to be written so that routes are as asked, decided from one view of the kernel.

A route over a gateway hangs on a nexthop object, because the kernel keeps routes with a gateway of their own
in one hash chain per device and becomes quadratic (5,000 of them: 29 us each, against 2.5 us). Only where the
kernel has no such objects the route carries its gateway itself. A route without a gateway is plain and of
link scope. Routes of other programs are never changed: an item that would is refused.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, NamedTuple

from quilt_netlink import SCOPE_LINK, Create, Delete, Nexthop, Op, Put, Route
from quilt_netlink.messages import pack_ip

PROTOCOL_MESH = 81
PROTOCOL_INJECTED = 82
OURS = frozenset({PROTOCOL_MESH, PROTOCOL_INJECTED})

Hop = tuple[str, int]
"""Gateway and device index: what a nexthop object stands for."""


class Wanted(NamedTuple):
    """A route as asked for; canonical prefix, `gateway` empty for a link-scope route."""

    prefix: str
    ifindex: int
    gateway: str = ""


@dataclass(slots=True)
class Steps:
    """Writes in their order, and beside each the item of the request that it is for."""

    ops: list[Op] = field(default_factory=list)
    items: list[int] = field(default_factory=list)

    def add(self, item: int, op: Op) -> None:
        """Append a write."""
        self.ops.append(op)
        self.items.append(item)


@dataclass(slots=True)
class Plan:
    """Writes in the order they have to happen, and the items that cannot be done, with the reason."""

    nexthops: Steps = field(default_factory=Steps)
    routes: Steps = field(default_factory=Steps)
    garbage: list[Op] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


def preferred_id(gateway: str) -> int:
    """Return the nexthop id that a gateway has unless another program took it: readable from the address."""
    if ":" in gateway:
        # Node subnets differ in the upper half; bit 30 keeps off the low numbers, which people choose.
        value = int(ipaddress.IPv6Address(gateway))
        return (value >> 64 ^ value) & 0x3FFFFFFF | 0x40000000
    # Thousands at a time, so not by way of an IPv4Address each.
    return int.from_bytes(pack_ip(gateway)) & 0x7FFFFFFF or 1


class Tables:
    """The main table's routes and the nexthop objects, as last read and with our own writes applied.

    Kept between calls, so that a change costs what it touches and not a pass over all routes. `objects` is
    whether the kernel has nexthop objects at all (since 5.3).
    """

    def __init__(self, routes: Iterable[Route], nexthops: Iterable[Nexthop], *, objects: bool = True) -> None:
        self.objects = objects
        self.by_prefix: dict[str, tuple[Route, ...]] = {}
        self.hops: dict[Hop, int] = {}
        self.nexthops: dict[int, Nexthop] = {}
        self.users: dict[int, int] = {}
        for nexthop in nexthops:
            self.put_nexthop(nexthop)
        for route in routes:
            self.put(route)

    def put(self, route: Route) -> None:
        """Take in a route, unless it is held: dropped once it is gone."""
        held = self.by_prefix.get(route.prefix, ())
        if route in held:
            return
        self.by_prefix[route.prefix] = (*held, route)
        if route.nhid:
            self.users[route.nhid] = self.users.get(route.nhid, 0) + 1

    def put_new(self, routes: Sequence[Route], nexthops: Sequence[Nexthop]) -> bool:
        """Take in routes, each over its own nexthop object, if nobody has their keys; else do nothing."""
        prefixes = [route.prefix for route in routes]
        ids = [nexthop.id for nexthop in nexthops]
        hops = [(nexthop.gateway, nexthop.ifindex) for nexthop in nexthops]
        new: tuple[tuple[Sequence[Hashable], Mapping[Any, object]], ...]
        new = ((prefixes, self.by_prefix), (ids, self.nexthops), (hops, self.hops))
        if any(len(set(keys)) < len(keys) or not held.keys().isdisjoint(keys) for keys, held in new):
            return False
        self.by_prefix.update(zip(prefixes, zip(routes), strict=True))
        self.nexthops.update(zip(ids, nexthops, strict=True))
        self.hops.update(zip(hops, ids, strict=True))
        self.users.update(zip(ids, repeat(1)))
        return True

    def drop(self, route: Route) -> None:
        """Take out a route that is there."""
        rest = list(self.by_prefix[route.prefix])
        rest.remove(route)
        if rest:
            self.by_prefix[route.prefix] = tuple(rest)
        else:
            del self.by_prefix[route.prefix]
        if route.nhid:
            self.users[route.nhid] -= 1
            if not self.users[route.nhid]:
                del self.users[route.nhid]

    def put_nexthop(self, nexthop: Nexthop) -> None:
        """Take in a nexthop object; only one of ours with a gateway is ever used again."""
        self.nexthops[nexthop.id] = nexthop
        if nexthop.protocol == PROTOCOL_MESH and nexthop.gateway:
            self.hops.setdefault((nexthop.gateway, nexthop.ifindex), nexthop.id)

    def drop_nexthop(self, nexthop: Nexthop) -> None:
        """Take out a nexthop object."""
        self.nexthops.pop(nexthop.id, None)
        if self.hops.get((nexthop.gateway, nexthop.ifindex)) == nexthop.id:
            del self.hops[nexthop.gateway, nexthop.ifindex]

    def devices(self) -> set[int]:
        """Return the devices that our routes hang on: what happens to one of them happens to routes."""
        plain = {
            r.ifindex for held in self.by_prefix.values() for r in held if r.protocol in OURS and r.ifindex
        }
        return plain | {
            nexthop.ifindex for nexthop in self.nexthops.values() if nexthop.protocol == PROTOCOL_MESH
        }

    def unused(self) -> list[Nexthop]:
        """Return our nexthop objects that no route uses."""
        return [n for n in self.nexthops.values() if n.protocol == PROTOCOL_MESH and n.id not in self.users]


class Planner:
    """Works items off one after the other against tables that it keeps up to date as if they were done."""

    def __init__(self, tables: Tables, name_of: Callable[[int], str]) -> None:
        self.plan = Plan()
        self._tables = tables
        self._name_of = name_of
        self._left: set[int] = set()

    def add_new(self, prefixes: Sequence[str], gateways: Sequence[str], ifindex: int, protocol: int) -> bool:
        """Plan a cold start's routes, items 0, 1, 2, … in this order, without a step of Python for each.

        Only where nobody has one of the prefixes or nexthop objects: else False, and nothing is planned.
        """
        if not self._tables.objects or not all(gateways):
            return False
        ids = list(map(preferred_id, gateways))
        nexthops = list(map(Nexthop, ids, repeat(ifindex), gateways, repeat(PROTOCOL_MESH)))
        routes = list(map(Route, prefixes, repeat(protocol), ids))
        if not self._tables.put_new(routes, nexthops):
            return False
        items = list(range(len(routes)))
        self.plan.nexthops = Steps(list(map(Create, nexthops)), items)
        self.plan.routes = Steps(list(map(Create, routes)), items)
        return True

    def add(self, item: int, wanted: Wanted, protocol: int, keep: frozenset[int] = frozenset()) -> None:
        """Plan one route; an equal one of a protocol in `keep` stays as it is."""
        held = self._tables.by_prefix.get(wanted.prefix)
        if not held:
            route = self._route(item, wanted, protocol)
            self.plan.routes.add(item, Create(route))
            self._tables.put(route)
            return
        foreign = next((route for route in held if route.protocol not in OURS), None)
        if foreign is not None:
            self.plan.refused[item] = self._foreign_text(foreign)
            return
        route = self._route(item, wanted, protocol)
        if any(
            same_but_protocol(route, old) and (old.protocol == protocol or old.protocol in keep)
            for old in held
        ):
            return
        self.plan.routes.add(item, Put(route))
        for old in held:
            self._drop(old)
        self._tables.put(route)

    def remove(self, item: int, prefix: str, protocols: frozenset[int]) -> None:
        """Plan the removal of our routes to a prefix; absent is done, another program's alone is refused."""
        held = self._tables.by_prefix.get(prefix, ())
        ours = [route for route in held if route.protocol in OURS]
        if not ours and held:
            self.plan.refused[item] = self._foreign_text(held[0])
            return
        for route in ours:
            if route.protocol in protocols:
                self.plan.routes.add(item, Delete(route))
                self._drop(route)

    def finish(self, also: Iterable[Nexthop] = ()) -> Plan:
        """Add the removal of nexthop objects left without a route, and of unused ones in `also`."""
        left = {nhid: self._tables.nexthops[nhid] for nhid in self._left if nhid in self._tables.nexthops}
        for nexthop in {**left, **{nexthop.id: nexthop for nexthop in also}}.values():
            if nexthop.protocol == PROTOCOL_MESH and nexthop.id not in self._tables.users:
                self.plan.garbage.append(Delete(nexthop))
                self._tables.drop_nexthop(nexthop)
        return self.plan

    def _drop(self, route: Route) -> None:
        self._tables.drop(route)
        self._left.add(route.nhid)

    def _route(self, item: int, wanted: Wanted, protocol: int) -> Route:
        if not wanted.gateway:
            scope = SCOPE_LINK if ":" not in wanted.prefix else 0
            return Route(wanted.prefix, protocol, ifindex=wanted.ifindex, scope=scope)
        if not self._tables.objects:
            return Route(wanted.prefix, protocol, ifindex=wanted.ifindex, gateway=wanted.gateway, onlink=True)
        return Route(wanted.prefix, protocol, nhid=self._nexthop(item, wanted.gateway, wanted.ifindex))

    def _nexthop(self, item: int, gateway: str, ifindex: int) -> int:
        known = self._tables.hops.get((gateway, ifindex))
        if known is not None:
            return known
        nhid = preferred_id(gateway)
        while nhid in self._tables.nexthops:
            nhid = nhid % 0x7FFFFFFF + 1
        nexthop = Nexthop(nhid, ifindex, gateway, PROTOCOL_MESH)
        self._tables.put_nexthop(nexthop)
        self.plan.nexthops.add(item, Create(nexthop))
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


def described(tables: Tables, protocol: int) -> list[tuple[str, str, int]]:
    """Return (prefix, gateway, device index) of the routes of a protocol, nexthop objects resolved."""
    found = []
    for held in tables.by_prefix.values():
        for route in held:
            if route.protocol == protocol:
                hop = tables.nexthops.get(route.nhid)
                source = hop or route
                found.append((route.prefix, source.gateway, source.ifindex))
    return found
