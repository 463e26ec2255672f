"""The kernel's notifications to changes of entries."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from quilt_netlink import constants as c
from quilt_netlink import decode, messages
from quilt_netlink.events import Change
from quilt_netlink.groups import read_groups
from quilt_netlink.messages import Message
from quilt_netlink.state import BridgePort, Link, Netconf, NftTable, Observed, Watched


def decode_event(kind: int, view: memoryview, start: int, end: int) -> Change | None:
    """Decode a notification; None for what is not about entries that we represent.

    An entry that is there but is no longer of the kind we mean (a neighbour not permanent, a route that is
    a blackhole now) is notified as gone.
    """
    found = messages.decode(view, start, end)
    if found is None:
        return None
    new = kind > c.RTM_DELNEXTHOP or not kind & 1  # nftables' types do not say
    if kind & ~1 == c.RTM_NEWNEIGH:
        return _neighbour(new, found)
    if kind & ~1 == c.RTM_NEWROUTE:
        return _route(new, found)
    entry = _ENTRIES[kind & ~1](found) if kind & ~1 in _ENTRIES else None
    return Change(new, entry) if entry is not None else None


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


def _link(found: Message) -> Link | BridgePort:
    # A bridge's own messages about a port have AF_BRIDGE: their DELLINK says that a port left the bridge.
    if found["family"] == c.AF_BRIDGE:
        return BridgePort(found["index"], found.get("IFLA_IFNAME", ""))
    return decode.link(found)


def _nft_table(found: Message) -> NftTable:
    name = found.get("NFTA_TABLE_NAME") or found.get("NFTA_SET_ELEM_LIST_TABLE", "")
    return NftTable(found["family"], name)


# By the type without its last bit, which tells what is gone from what is new.
_ENTRIES: dict[int, Callable[[Message], Observed | Watched | None]] = {
    c.RTM_NEWLINK: _link,
    c.RTM_NEWADDR: decode.address,
    c.RTM_NEWNEXTHOP: decode.nexthop,
    c.RTM_NEWMDB: lambda found: next(iter(read_groups(found)), None),  # a notification is about one
    c.RTM_NEWNETCONF: lambda found: Netconf(found.get("NETCONFA_IFINDEX", 0)),
    **dict.fromkeys((kind & ~1 for kind in (*c.NFT_NOTIFICATIONS, c.NFT_MSG_NEWSETELEM)), _nft_table),
}
