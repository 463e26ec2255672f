"""The kernel's notifications of routes and nexthop objects, taken into the tables one by one.

Another program's change of one route then costs that route, not the reading of thousands. Whatever a
notification leaves open is answered with "read anew".
"""

from __future__ import annotations

from quilt_netlink import TABLE_MAIN, Nexthop, Route
from quilt_netlink.channel import walk
from quilt_netlink.event_decoder import decode_event
from quilt_runtime.core.routes import Tables

RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWNEXTHOP, RTM_DELNEXTHOP = 24, 25, 104, 105
NLM_F_REPLACE = 0x100


class RouteNews:
    """Decodes notifications and keeps tables true by them."""

    def take(self, view: memoryview, tables: Tables) -> bool:
        """Take in a datagram of route and nexthop notifications; whether the tables are still true."""
        return all(
            self._take_one(kind, bool(flags & NLM_F_REPLACE), view, start, end, tables)
            for kind, flags, _, start, end in walk(view, len(view))
        )

    def _take_one(
        self, kind: int, replaces: bool, view: memoryview, start: int, end: int, tables: Tables
    ) -> bool:
        change = decode_event(kind, view, start, end)
        if change is None:
            return kind in (RTM_NEWROUTE, RTM_DELROUTE)  # the kernel's own: local, broadcast, multicast
        entry = change.entry
        if isinstance(entry, Nexthop):
            _take_nexthop(entry, change.new, tables)
            return True
        if not isinstance(entry, Route):
            return False
        if entry.table != TABLE_MAIN:
            return True
        return _put(entry, replaces, tables) if kind == RTM_NEWROUTE and change.new else _drop(entry, tables)


def _put(route: Route, replaces: bool, tables: Tables) -> bool:
    rivals = [held for held in tables.by_prefix.get(route.prefix, ()) if held.metric == route.metric]
    if replaces:
        if len(rivals) > 1:
            return False  # which of them went is the kernel's secret
        for held in rivals:
            tables.drop(held)
    elif route in rivals:
        return True
    tables.put(route)
    return True


def _drop(route: Route, tables: Tables) -> bool:
    if route not in tables.by_prefix.get(route.prefix, ()):
        return False
    tables.drop(route)
    return True


def _take_nexthop(nexthop: Nexthop, new: bool, tables: Tables) -> None:
    held = tables.nexthops.get(nexthop.id)
    if held is not None:
        tables.drop_nexthop(held)
    if new:
        tables.put_nexthop(nexthop)
        return
    if nexthop.id in tables.users:
        # A nexthop object takes its IPv4 routes with it silently.
        over = [r for routes in tables.by_prefix.values() for r in routes if r.nhid == nexthop.id]
        for route in over:
            tables.drop(route)
