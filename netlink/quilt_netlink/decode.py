"""Messages to entries, of dumps and of notifications; None for what we do not represent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any

from msgspec.structs import replace

from quilt_netlink import constants as c
from quilt_netlink import schema, state
from quilt_netlink.layout import Columns
from quilt_netlink.shapes import BITS, DEL, HEADER, Message

_MAC_LENGTH = 17
_OVER_OBJECT = {"RTA_DST", "RTA_TABLE", "RTA_NH_ID"}
_OWN_TUNNEL = (("NDA_PORT", "port"), ("NDA_VNI", "vni"), ("NDA_IFINDEX", "via"))


def message(view: memoryview, start: int = 0, end: int | None = None) -> Message | None:
    """Decode one message by its type; None for one of a type that we do not read, or that is too short."""
    end = len(view) if end is None else end
    kind = schema.READ.get(HEADER.unpack_from(view, start)[1])
    if kind is None or end - start < HEADER.size + kind.fixed.size:
        return None
    return kind.read(view, start + HEADER.size, end)


def neighbour(
    found: Message, *, any_state: bool = False
) -> state.Neighbour | state.FdbEntry | state.BridgeFdbEntry | None:
    """Make an entry of a neighbour message of any family.

    Entries that are not permanent are None (the mesh's are), but for a bridge's; with `any_state` the state
    is not looked at, as a deletion's message carries the state of the dying entry.
    """
    family, flags = found["family"], found["flags"]
    mac = found.get("NDA_LLADDR", "")
    mac = mac if len(mac) == _MAC_LENGTH else ""
    if family == c.AF_BRIDGE and "NDA_MASTER" in found:
        known = mac and not flags & c.NTF_SELF
        return state.BridgeFdbEntry(mac, found["ifindex"], found["NDA_MASTER"]) if known else None
    if not any_state and not found["state"] & c.NUD_PERMANENT:
        return None
    dst = found.get("NDA_DST", "")
    if family != c.AF_BRIDGE:
        return state.Neighbour(found["ifindex"], dst, mac) if dst and (mac or any_state) else None
    if not flags & c.NTF_SELF or not dst or not mac:
        return None
    own = [f" {word} {found[name]}" for name, word in _OWN_TUNNEL if name in found]
    return state.FdbEntry(found["ifindex"], mac, "".join([dst, *own]))


def nexthop(found: Message) -> state.Nexthop:
    """Make a nexthop object; groups and blackholes are shown with ifindex 0."""
    return state.Nexthop(
        found.get("NHA_ID", 0),
        found.get("NHA_OIF", 0),
        found.get("NHA_GATEWAY", ""),
        found["protocol"],
        bool(found["flags"] & c.RTNH_F_ONLINK),
    )


def route(found: Message, *, expand: bool = False, any_kind: bool = False) -> state.Route | None:
    """Make a unicast route, or with `any_kind` also a blackhole and its like.

    With `expand` a nexthop object's device and gateway are shown too.
    """
    family = found["family"]
    if family not in BITS or not (any_kind or found["type"] == c.RTN_UNICAST):
        return None
    v6 = family == AF_INET6
    dst = found.get("RTA_DST") or ("::" if v6 else "0.0.0.0")  # noqa: S104  # a prefix, of length 0
    if (":" in dst) != v6:
        return None
    metric = found.get("RTA_PRIORITY", 0)
    nhid = found.get("RTA_NH_ID", 0)
    direct = expand or not nhid
    return state.Route(
        f"{dst}/{found['dst_len']}",
        found["proto"],
        nhid,
        found.get("RTA_OIF", 0) if direct else 0,
        found.get("RTA_GATEWAY", "") if direct else "",
        direct and bool(found["flags"] & c.RTNH_F_ONLINK),
        state.SCOPE_UNIVERSE if v6 else found["scope"],
        found.get("RTA_TABLE") or found["table"],
        found.get("RTA_PREFSRC", ""),
        0 if v6 and metric == c.IP6_RT_PRIO_USER else metric,
    )


def unreachable(found: Message) -> state.Unreachable | None:
    """Make an unreachable prefix; None for a route of any other kind."""
    made = route(found, any_kind=True) if found["type"] == c.RTN_UNREACHABLE else None
    return state.Unreachable(made.prefix, made.protocol, made.metric, made.table) if made else None


def link(found: Message) -> state.Link:
    """Make an interface."""
    info = found.get("IFLA_LINKINFO", {})
    kind = info.get("IFLA_INFO_KIND", "")
    data = info.get("IFLA_INFO_DATA", {}) if kind == "vxlan" else {}
    port = info.get("IFLA_INFO_SLAVE_DATA") if info.get("IFLA_INFO_SLAVE_KIND") == "bridge" else None
    return state.Link(
        name=found.get("IFLA_IFNAME", ""),
        kind=kind,
        index=found["index"],
        mac=found.get("IFLA_ADDRESS", ""),
        mtu=found.get("IFLA_MTU", 0),
        up=bool(found["flags"] & c.IFF_UP),
        master=found.get("IFLA_MASTER", 0),
        link=found.get("IFLA_LINK", 0),
        addrgenmode=found.get("IFLA_AF_SPEC", {}).get("AF_INET6", {}).get("IFLA_INET6_ADDR_GEN_MODE"),
        vxlan=_vxlan(data) if data else None,
        hairpin=None if port is None else bool(port.get("IFLA_BRPORT_MODE")),
    )


def _vxlan(data: Message) -> state.Vxlan:
    found = {name: data.get(attribute, 0) for name, attribute in schema.VXLAN_ATTRIBUTES.items()}
    found["learning"] = bool(found["learning"])
    return state.Vxlan(**found, local=data.get("IFLA_VXLAN_LOCAL") or data.get("IFLA_VXLAN_LOCAL6", ""))


def address(found: Message) -> state.Address | None:
    """Make an interface's IP address; None for one of another kind (Phonet, MCTP)."""
    if found["family"] not in BITS:
        return None
    text = found.get("IFA_LOCAL") or found.get("IFA_ADDRESS", "")
    plain = bool(found.get("IFA_FLAGS", 0) & c.IFA_F_NOPREFIXROUTE)
    return state.Address(found["index"], f"{text}/{found['prefixlen']}", plain, found["scope"])


def multicast_rule(found: Message) -> state.Rule | None:
    """Make a rule; None for one that is not about an interface."""
    if found["family"] != c.RTNL_FAMILY_IPMR or not found.keys() >= {"FRA_IIFNAME", "FRA_TABLE"}:
        return None
    return state.Rule(found["FRA_TABLE"], found.get("FRA_PRIORITY", 0), interface=found["FRA_IIFNAME"])


def multicast_route(found: Message) -> state.MulticastRoute | None:
    """Make an entry; None for one that the kernel still asks about."""
    if found["flags"] & c.RTNH_F_UNRESOLVED or not found.keys() >= {"RTA_SRC", "RTA_DST", "RTA_TABLE"}:
        return None
    oifs = frozenset(found.get("RTA_MULTIPATH", ()))
    iif = found.get("RTA_IIF", 0)
    return state.MulticastRoute(found["RTA_TABLE"], found["RTA_SRC"], found["RTA_DST"], iif, oifs)


def groups(found: Message) -> tuple[state.GroupEntry, ...]:
    """Make the entries of a device: many, or none that we represent, which are IPv4's."""
    items = [item for entry in found.get("MDBA_MDB", ()) for item in entry if item["proto"] == schema.IPV4]
    return tuple(_group(found["ifindex"], item) for item in items)


def _group(device: int, item: Message) -> state.GroupEntry:
    group = inet_ntop(AF_INET, item["group"])
    source, dst = (_given(item.get(name)) for name in ("MDBA_MDB_EATTR_SOURCE", "MDBA_MDB_EATTR_DST"))
    bridge = state.BridgeGroup(device, item["ifindex"], group, source)
    return state.VxlanGroup(device, group, dst, source) if dst else bridge


def _given(address: str | None) -> str:
    return address if address and address != "0.0.0.0" and ":" not in address else ""  # noqa: S104  # "none"


def change(kind: int, view: memoryview, start: int, end: int) -> state.Change | None:
    """Decode a notification; None for what is not about entries that we represent.

    An entry that is there but is no longer of the kind we mean (a neighbour not permanent, a route that is
    a blackhole now) is notified as gone.
    """
    found = message(view, start, end)
    if found is None:
        return None
    if kind >= schema.nftmsg.base:  # nftables' types do not say what is gone
        name = found.get("NFTA_TABLE_NAME") or found.get("NFTA_SET_ELEM_LIST_TABLE", "")
        return state.Change(True, state.NftTable(found["family"], name))
    base, new = kind & ~3, kind & 3 != DEL
    entry = _NOTIFIED[base](found) if base in _NOTIFIED else None
    if base == schema.ndmsg.base and entry is None:
        new, entry = False, neighbour(found, any_state=True)
    if isinstance(entry, state.Route) and found["type"] != c.RTN_UNICAST:
        if found["type"] < c.RTN_BLACKHOLE:
            return None  # local, broadcast, anycast, multicast: the kernel's own
        new, entry = False, replace(entry, nhid=0, ifindex=0, gateway="")
    return state.Change(new, entry) if entry is not None else None


def _link_or_port(found: Message) -> state.Link | state.BridgePort:
    # A bridge's own messages about a port have AF_BRIDGE: their DELLINK says that a port left the bridge.
    if found["family"] == c.AF_BRIDGE:
        return state.BridgePort(found["index"], found.get("IFLA_IFNAME", ""))
    return link(found)


_NOTIFIED: dict[int, Callable[[Message], state.Observed | state.Watched | None]] = {
    schema.ifinfmsg.base: _link_or_port,
    schema.ifaddrmsg.base: address,
    schema.ndmsg.base: neighbour,
    schema.rtmsg.base: lambda found: route(found, any_kind=True),
    schema.nhmsg.base: nexthop,
    schema.mdbmsg.base: lambda found: next(iter(groups(found)), None),  # a notification is about one
    schema.netconfmsg.base: lambda found: state.Netconf(found.get("NETCONFA_IFINDEX", 0)),
}
"""By the first of a kind's four message types."""


def alike(make: Callable[[Message], Any], first: Any, fields: Message, columns: Columns) -> Iterable[Any]:
    """Make the entries of messages of one layout, as `make` made `first` of such a message, or None.

    `fields` are the fixed fields of all, `columns` the values of their attributes.
    """
    if differing := _differing(first, fields, columns):
        kind = type(first)
        values = (differing.get(name) or repeat(getattr(first, name)) for name in kind.__struct_fields__)
        return map(kind, *values)
    found = (zip(columns, values, strict=True) for values in zip(*columns.values(), strict=True))
    given = ({name: value for name, value in each if value is not None} for each in found)
    return filter(None, (make({**fields, **each}) for each in given))


def _differing(first: Any, fields: Message, columns: Columns) -> Mapping[str, Iterable[Any]]:
    """Return in what entries differ from the first one; nothing for what is not as plain as a mesh's are."""
    match first:
        case state.Neighbour() if columns.keys() == {"NDA_DST", "NDA_LLADDR"}:
            return {"address": columns["NDA_DST"], "mac": columns["NDA_LLADDR"]}
        case state.FdbEntry() if columns.keys() == {"NDA_DST", "NDA_LLADDR"}:
            return {"mac": columns["NDA_LLADDR"], "dst": columns["NDA_DST"]}
        case state.Nexthop() if columns.keys() == {"NHA_ID", "NHA_OIF", "NHA_GATEWAY"}:
            return {"id": columns["NHA_ID"], "ifindex": columns["NHA_OIF"], "gateway": columns["NHA_GATEWAY"]}
        case state.Route() if columns.keys() - {"RTA_OIF", "RTA_GATEWAY"} == _OVER_OBJECT:
            tables, ids = columns["RTA_TABLE"], columns["RTA_NH_ID"]
            if all(tables) and all(ids):
                prefixes = map(f"{{}}/{fields['dst_len']}".format, columns["RTA_DST"])
                return {"prefix": prefixes, "nhid": ids, "table": tables}
    return {}
