"""The kernel's notifications to changes of entries."""

from __future__ import annotations

from msgspec.structs import replace

from quilt_netlink import constants as c
from quilt_netlink import decode, makers
from quilt_netlink.events import Change
from quilt_netlink.groups import RTM_DELMDB, RTM_NEWMDB, read_groups
from quilt_netlink.layout import Layouts
from quilt_netlink.state import Observed, Route

_NEW = frozenset({c.RTM_NEWLINK, c.RTM_NEWADDR, c.RTM_NEWNEIGH, c.RTM_NEWROUTE, c.RTM_NEWNEXTHOP})


class EventDecoder:
    """Decodes notifications; the plain cases of the long tables' entries by learned layouts."""

    def __init__(self) -> None:
        neighbours: Layouts[Observed] = Layouts(makers.NEIGHBOURS)
        nexthops: Layouts[Observed] = Layouts(makers.NEXTHOPS)
        routes: Layouts[Observed] = Layouts(makers.ROUTES)
        self._layouts = {
            c.RTM_NEWNEIGH: neighbours,
            c.RTM_DELNEIGH: neighbours,
            c.RTM_NEWNEXTHOP: nexthops,
            c.RTM_DELNEXTHOP: nexthops,
            c.RTM_NEWROUTE: routes,
            c.RTM_DELROUTE: routes,
        }

    def decode(self, kind: int, view: memoryview, start: int, end: int) -> Change | None:
        """Decode one notification (see decode_event)."""
        if not decode.whole(kind, end - start):
            return None
        layouts = self._layouts.get(kind)
        layout = layouts.find(view, start, end) if layouts else None
        if layout is not None:
            entry = layout.make(layout.unpack(view, start))
            if entry is not None:
                return Change(kind in _NEW, entry)
        return decode_event(kind, view, start, end)


def decode_event(kind: int, view: memoryview, start: int, end: int) -> Change | None:
    """Decode a notification; None for what is not about entries that we represent.

    An entry that is there but is no longer of the kind we mean (a neighbour not permanent, a route that is
    a blackhole now) is told as gone.
    """
    if kind in (c.RTM_NEWNEIGH, c.RTM_DELNEIGH):
        return _neighbour(kind == c.RTM_NEWNEIGH, view, start, end)
    if kind in (c.RTM_NEWROUTE, c.RTM_DELROUTE):
        return _route(kind == c.RTM_NEWROUTE, view, start, end)
    if kind in (RTM_NEWMDB, RTM_DELMDB):
        groups = read_groups(view, start, end)  # a notification is about one
        return Change(kind == RTM_NEWMDB, groups[0]) if groups else None
    entry: Observed | None = None
    if kind in (c.RTM_NEWNEXTHOP, c.RTM_DELNEXTHOP):
        entry = decode.nexthop(view, start, end)
    elif kind in (c.RTM_NEWADDR, c.RTM_DELADDR):
        entry = decode.address(view, start, end)
    elif kind in (c.RTM_NEWLINK, c.RTM_DELLINK) and view[start + 16] != c.AF_BRIDGE:
        # A bridge's own messages about a port have AF_BRIDGE: their DELLINK says that a port left the bridge.
        entry = decode.link(view, start, end)
    if entry is None:
        return None
    return Change(kind in _NEW, entry)


def _neighbour(new: bool, view: memoryview, start: int, end: int) -> Change | None:
    entry = decode.neighbour(view, start, end)
    if entry is not None:
        return Change(new, entry)
    gone = decode.neighbour(view, start, end, any_state=True)
    return Change(False, gone) if gone is not None else None


def _route(new: bool, view: memoryview, start: int, end: int) -> Change | None:
    kind = view[start + 23]
    if kind != c.RTN_UNICAST and kind < c.RTN_BLACKHOLE:
        return None  # local, broadcast, anycast, multicast: the kernel's own
    entry = decode.route(view, start, end, any_kind=True)
    if not isinstance(entry, Route):
        return None
    if kind != c.RTN_UNICAST:
        return Change(False, replace(entry, nhid=0, ifindex=0, gateway=""))
    return Change(new, entry)
