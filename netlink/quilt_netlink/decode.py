"""One decoded message to one entry; None for what we do not represent."""

from __future__ import annotations

from socket import AF_INET, AF_INET6

from quilt_netlink import constants as c
from quilt_netlink.messages import Message
from quilt_netlink.schema import VXLAN_ATTRIBUTES
from quilt_netlink.state import (
    SCOPE_UNIVERSE,
    Address,
    BridgeFdbEntry,
    FdbEntry,
    Link,
    Neighbour,
    Nexthop,
    Route,
    Unreachable,
    Vxlan,
)

_IP_FAMILIES = (AF_INET, AF_INET6)
_MAC_LENGTH = 17


def neighbour(found: Message, *, any_state: bool = False) -> Neighbour | FdbEntry | BridgeFdbEntry | None:
    """Make an entry of a neighbour message of any family.

    Entries that are not permanent are None (the mesh's are), but for a bridge's; with `any_state` the state
    is not looked at, as a deletion's message carries the state of the dying entry.
    """
    family, flags = found["family"], found["flags"]
    mac = found.get("NDA_LLADDR", "")
    mac = mac if len(mac) == _MAC_LENGTH else ""
    if family == c.AF_BRIDGE and "NDA_MASTER" in found:
        known = mac and not flags & c.NTF_SELF
        return BridgeFdbEntry(mac, found["ifindex"], found["NDA_MASTER"]) if known else None
    if not any_state and not found["state"] & c.NUD_PERMANENT:
        return None
    dst = found.get("NDA_DST", "")
    if family != c.AF_BRIDGE:
        return Neighbour(found["ifindex"], dst, mac) if dst and (mac or any_state) else None
    if not flags & c.NTF_SELF or not dst or not mac:
        return None
    return FdbEntry(found["ifindex"], mac, dst + _own_tunnel(found))


def _own_tunnel(found: Message) -> str:
    parts = (("NDA_PORT", "port"), ("NDA_VNI", "vni"), ("NDA_IFINDEX", "via"))
    return "".join([f" {word} {found[name]}" for name, word in parts if name in found])


def nexthop(found: Message) -> Nexthop:
    """Make a nexthop object; groups and blackholes are shown with ifindex 0."""
    return Nexthop(
        found.get("NHA_ID", 0),
        found.get("NHA_OIF", 0),
        found.get("NHA_GATEWAY", ""),
        found["protocol"],
        bool(found["flags"] & c.RTNH_F_ONLINK),
        found["scope"],
    )


def route(found: Message, *, expand: bool = False, any_kind: bool = False) -> Route | None:
    """Make a unicast route, or with `any_kind` also a blackhole and its like.

    With `expand` a nexthop object's device and gateway are shown too.
    """
    family = found["family"]
    if family not in _IP_FAMILIES or not (any_kind or found["type"] == c.RTN_UNICAST):
        return None
    v6 = family == AF_INET6
    dst = found.get("RTA_DST") or ("::" if v6 else "0.0.0.0")  # noqa: S104  # a prefix, of length 0
    if (":" in dst) != v6:
        return None
    metric = found.get("RTA_PRIORITY", 0)
    nhid = found.get("RTA_NH_ID", 0)
    direct = expand or not nhid
    return Route(
        f"{dst}/{found['dst_len']}",
        found["proto"],
        nhid,
        found.get("RTA_OIF", 0) if direct else 0,
        found.get("RTA_GATEWAY", "") if direct else "",
        direct and bool(found["flags"] & c.RTNH_F_ONLINK),
        SCOPE_UNIVERSE if v6 else found["scope"],
        found.get("RTA_TABLE") or found["table"],
        found.get("RTA_PREFSRC", ""),
        0 if v6 and metric == c.IP6_RT_PRIO_USER else metric,
    )


def unreachable(found: Message) -> Unreachable | None:
    """Make an unreachable prefix; None for a route of any other kind."""
    made = route(found, any_kind=True) if found["type"] == c.RTN_UNREACHABLE else None
    return Unreachable(made.prefix, made.protocol, made.metric, made.table) if made else None


def link(found: Message) -> Link:
    """Make an interface."""
    info = found.get("IFLA_LINKINFO", {})
    kind = info.get("IFLA_INFO_KIND", "")
    data = info.get("IFLA_INFO_DATA", {}) if kind == "vxlan" else {}
    spec = found.get("IFLA_AF_SPEC", {}) if found["family"] != c.AF_BRIDGE else {}
    port = info.get("IFLA_INFO_SLAVE_DATA") if info.get("IFLA_INFO_SLAVE_KIND") == "bridge" else None
    return Link(
        name=found.get("IFLA_IFNAME", ""),
        kind=kind,
        index=found["index"],
        mac=found.get("IFLA_ADDRESS", ""),
        mtu=found.get("IFLA_MTU", 0),
        up=bool(found["flags"] & c.IFF_UP),
        master=found.get("IFLA_MASTER", 0),
        link=found.get("IFLA_LINK", 0),
        addrgenmode=spec.get("AF_INET6", {}).get("IFLA_INET6_ADDR_GEN_MODE"),
        vxlan=_vxlan(data) if data else None,
        hairpin=None if port is None else bool(port.get("IFLA_BRPORT_MODE")),
    )


def _vxlan(data: Message) -> Vxlan:
    found = {name: data.get(attribute, 0) for name, attribute in VXLAN_ATTRIBUTES.items()}
    found["learning"] = bool(found["learning"])
    return Vxlan(**found, local=data.get("IFLA_VXLAN_LOCAL") or data.get("IFLA_VXLAN_LOCAL6", ""))


def address(found: Message) -> Address | None:
    """Make an interface's IP address; None for one of another kind (Phonet, MCTP)."""
    if found["family"] not in _IP_FAMILIES:
        return None
    text = found.get("IFA_LOCAL") or found.get("IFA_ADDRESS", "")
    plain = bool(found.get("IFA_FLAGS", 0) & c.IFA_F_NOPREFIXROUTE)
    return Address(found["index"], f"{text}/{found['prefixlen']}", plain, found["scope"])
