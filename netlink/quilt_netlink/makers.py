"""Entries out of unpacked messages, for the shapes that a mesh's tables have; the rest is left to
`decode`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from socket import AF_INET, AF_INET6, inet_ntoa, inet_ntop

from quilt_netlink import constants as c
from quilt_netlink import decode
from quilt_netlink.layout import FIXED, Kind, Make, Values
from quilt_netlink.state import SCOPE_UNIVERSE, FdbEntry, Neighbour, Nexthop, Route

_TEXT: dict[int, Callable[[bytes], str]] = {AF_INET: inet_ntoa, AF_INET6: partial(inet_ntop, AF_INET6)}
_QUALIFIERS = {c.NDA_MASTER, c.NDA_PORT, c.NDA_VNI, c.NDA_IFINDEX}


def neighbour_maker(family: int, at: dict[int, int]) -> Make | None:
    """Make neighbours and plain entries of a VXLAN device's table."""
    if not at.keys() >= {c.NDA_DST, c.NDA_LLADDR} or at.keys() & _QUALIFIERS:
        return None
    dst, mac = at[c.NDA_DST], at[c.NDA_LLADDR]
    text = _TEXT.get(family)
    ifindex, state, flags = FIXED + 1, FIXED + 2, FIXED + 3

    def make_neighbour(values: Values) -> Neighbour | None:
        packed = values[mac]
        if not values[state] & c.NUD_PERMANENT or len(packed) != 6:
            return None
        return Neighbour(values[ifindex], text(values[dst]), packed.hex(":"))  # type: ignore[misc]

    def make_fdb_entry(values: Values) -> FdbEntry | None:
        if not values[state] & c.NUD_PERMANENT or not values[flags] & c.NTF_SELF:
            return None
        return FdbEntry(values[ifindex], values[mac].hex(":"), decode.text_ip(values[dst]))

    if family == c.AF_BRIDGE:
        return make_fdb_entry
    return make_neighbour if text else None


def nexthop_maker(family: int, at: dict[int, int]) -> Make | None:
    """Make nexthop objects that have a gateway."""
    text = _TEXT.get(family)
    if text is None or not at.keys() >= {c.NHA_ID, c.NHA_OIF, c.NHA_GATEWAY}:
        return None
    number, oif, gateway = at[c.NHA_ID], at[c.NHA_OIF], at[c.NHA_GATEWAY]
    scope, protocol, flags = FIXED + 1, FIXED + 2, FIXED + 4

    def make(values: Values) -> Nexthop:
        onlink = bool(values[flags] & c.RTNH_F_ONLINK)
        return Nexthop(
            values[number], values[oif], text(values[gateway]), values[protocol], onlink, values[scope]
        )

    return make


def route_maker(family: int, at: dict[int, int]) -> Make | None:
    """Make routes over nexthop objects."""
    text = _TEXT.get(family)
    if text is None or not at.keys() >= {c.RTA_DST, c.RTA_TABLE, c.RTA_NH_ID} or c.RTA_PREFSRC in at:
        return None
    v6 = family == AF_INET6
    usual = c.IP6_RT_PRIO_USER if v6 else 0
    dst, table, nhid, priority = at[c.RTA_DST], at[c.RTA_TABLE], at[c.RTA_NH_ID], at.get(c.RTA_PRIORITY, 0)
    length, protocol, scope, kind = FIXED + 1, FIXED + 5, FIXED + 6, FIXED + 7

    def make(values: Values) -> Route | None:
        if values[kind] != c.RTN_UNICAST:
            return None
        metric = values[priority] if priority else 0
        return Route(
            f"{text(values[dst])}/{values[length]}",
            values[protocol],
            values[nhid],
            scope=SCOPE_UNIVERSE if v6 else values[scope],
            table=values[table],
            metric=0 if metric == usual else metric,
        )

    return make


NEIGHBOURS = Kind(
    "B3xiHBB",
    dict.fromkeys((c.NDA_DST, c.NDA_LLADDR, *_QUALIFIERS), "s"),
    neighbour_maker,
    decode.neighbour,
)
NEXTHOPS = Kind(
    "BBBBI",
    {c.NHA_ID: "I", c.NHA_OIF: "I", c.NHA_GATEWAY: "s"},
    nexthop_maker,
    decode.nexthop,
)
ROUTES = Kind(
    "BBBBBBBBI",
    {c.RTA_DST: "s", c.RTA_TABLE: "I", c.RTA_NH_ID: "I", c.RTA_PRIORITY: "I", c.RTA_PREFSRC: "s"},
    route_maker,
    decode.route,
)
