"""The kernel's notifications to changes of entries."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from quilt_netlink import constants as c
from quilt_netlink import decode, messages
from quilt_netlink.events import Change
from quilt_netlink.groups import read_groups
from quilt_netlink.messages import Message
from quilt_netlink.state import BridgePort, Netconf, NftTable


def decode_event(kind: int, view: memoryview, start: int, end: int) -> Change | None:
    """Decode a notification; None for what is not about entries that we represent.

    An entry that is there but is no longer of the kind we mean (a neighbour not permanent, a route that is
    a blackhole now) is told as gone.
    """
    change = _CHANGES.get(kind & ~1)
    found = messages.decode(view, start, end) if change else None
    return change(not kind & 1, found) if change and found is not None else None


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


def _link(new: bool, found: Message) -> Change:
    # A bridge's own messages about a port have AF_BRIDGE: their DELLINK says that a port left the bridge.
    if found["family"] == c.AF_BRIDGE:
        return Change(new, BridgePort(found["index"], found.get("IFLA_IFNAME", "")))
    return Change(new, decode.link(found))


def _group(new: bool, found: Message) -> Change | None:
    groups = read_groups(found)  # a notification is about one
    return Change(new, groups[0]) if groups else None


def _netconf(new: bool, found: Message) -> Change:
    return Change(new, Netconf(found.get("NETCONFA_IFINDEX", 0)))


def _nft_table(new: bool, found: Message) -> Change:
    name = found.get("NFTA_TABLE_NAME") or found.get("NFTA_SET_ELEM_LIST_TABLE", "")
    return Change(True, NftTable(found["family"], name))


# By the type without its last bit, which tells what is gone from what is new; not so among nftables' types.
_CHANGES: dict[int, Callable[[bool, Message], Change | None]] = {
    c.RTM_NEWLINK: _link,
    c.RTM_NEWADDR: _address,
    c.RTM_NEWNEIGH: _neighbour,
    c.RTM_NEWROUTE: _route,
    c.RTM_NEWNEXTHOP: _nexthop,
    c.RTM_NEWMDB: _group,
    c.RTM_NEWNETCONF: _netconf,
    **dict.fromkeys((kind & ~1 for kind in (*c.NFT_NOTIFICATIONS, c.NFT_MSG_NEWSETELEM)), _nft_table),
}
