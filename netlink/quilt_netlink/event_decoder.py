"""The kernel's notifications to changes of entries."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from quilt_netlink import constants as c
from quilt_netlink import decode, messages
from quilt_netlink.events import Change
from quilt_netlink.groups import read_groups
from quilt_netlink.messages import Message


def decode_event(kind: int, view: memoryview, start: int, end: int) -> Change | None:
    """Decode a notification; None for what is not about entries that we represent.

    An entry that is there but is no longer of the kind we mean (a neighbour not permanent, a route that is
    a blackhole now) is told as gone.
    """
    new, change = _CHANGES.get(kind, (False, None))
    found = messages.decode(view, start, end) if change else None
    return change(new, found) if change and found is not None else None


def _neighbour(new: bool, found: Message) -> Change | None:
    entry = decode.neighbour(found)
    if entry is not None:
        return Change(new, entry)
    gone = decode.neighbour(found, any_state=True)
    return Change(False, gone) if gone is not None else None


def _route(new: bool, found: Message) -> Change | None:
    kind = found["type"]
    if kind != c.RTN_UNICAST and kind < c.RTN_BLACKHOLE:
        return None  # local, broadcast, anycast, multicast: the kernel's own
    entry = decode.route(found, any_kind=True)
    if entry is None:
        return None
    if kind != c.RTN_UNICAST:
        return Change(False, replace(entry, nhid=0, ifindex=0, gateway=""))
    return Change(new, entry)


def _nexthop(new: bool, found: Message) -> Change:
    return Change(new, decode.nexthop(found))


def _address(new: bool, found: Message) -> Change | None:
    entry = decode.address(found)
    return Change(new, entry) if entry else None


def _link(new: bool, found: Message) -> Change | None:
    # A bridge's own messages about a port have AF_BRIDGE: their DELLINK says that a port left the bridge.
    return Change(new, decode.link(found)) if found["family"] != c.AF_BRIDGE else None


def _group(new: bool, found: Message) -> Change | None:
    groups = read_groups(found)  # a notification is about one
    return Change(new, groups[0]) if groups else None


_CHANGES: dict[int, tuple[bool, Callable[[bool, Message], Change | None]]] = {
    c.RTM_NEWLINK: (True, _link),
    c.RTM_DELLINK: (False, _link),
    c.RTM_NEWADDR: (True, _address),
    c.RTM_DELADDR: (False, _address),
    c.RTM_NEWNEIGH: (True, _neighbour),
    c.RTM_DELNEIGH: (False, _neighbour),
    c.RTM_NEWROUTE: (True, _route),
    c.RTM_DELROUTE: (False, _route),
    c.RTM_NEWNEXTHOP: (True, _nexthop),
    c.RTM_DELNEXTHOP: (False, _nexthop),
    c.RTM_NEWMDB: (True, _group),
    c.RTM_DELMDB: (False, _group),
}
