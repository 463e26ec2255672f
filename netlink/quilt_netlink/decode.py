"""One kernel message to one entry, by walking its attributes; None for what we do not represent.

This is the careful decoder: any kernel, any order and set of attributes. `layout` is the fast one for whole
tables and comes back to these functions for whatever does not have a layout it knows.
"""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6, inet_ntop

from quilt_netlink import constants as c
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

_ATTR = struct.Struct("=HH")
_NEIGH = struct.Struct("=B3xiHBB")
_NEXTHOP = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_LINK = struct.Struct("=B3xiI4x")
_ADDRESS = struct.Struct("=BBBBI")
_U32 = struct.Struct("=I")
_BE16 = struct.Struct(">H")


_FIXED = {
    **dict.fromkeys((c.RTM_NEWADDR, c.RTM_DELADDR, c.RTM_NEWNEXTHOP, c.RTM_DELNEXTHOP), 24),
    **dict.fromkeys((c.RTM_NEWNEIGH, c.RTM_DELNEIGH, c.RTM_NEWROUTE, c.RTM_DELROUTE), 28),
}


def whole(kind: int, size: int) -> bool:
    """Whether a message of this type is long enough to have all its fixed fields."""
    return size >= _FIXED.get(kind, 32 if kind < c.RTM_NEWADDR else 24)


def attributes(view: memoryview, at: int, end: int) -> dict[int, bytes]:
    """Return the attributes in a stretch of a message, by type without the nested and byte-order flags."""
    found = {}
    while at + 4 <= end:
        length, kind = _ATTR.unpack_from(view, at)
        if length < 4 or at + length > end:
            break
        found[kind & 0x3FFF] = bytes(view[at + 4 : at + length])
        at += (length + 3) & ~3
    return found


def text_ip(packed: bytes) -> str:
    """Return an address as text, the family told by its size."""
    return inet_ntop(AF_INET6 if len(packed) == 16 else AF_INET, packed)


def _word(attrs: dict[int, bytes], kind: int) -> int:
    packed = attrs.get(kind)
    return int(_U32.unpack(packed)[0]) if packed and len(packed) == 4 else 0


def _ip(attrs: dict[int, bytes], kind: int) -> str:
    packed = attrs.get(kind, b"")
    return text_ip(packed) if len(packed) in (4, 16) else ""


def neighbour(
    view: memoryview, start: int, end: int, *, any_state: bool = False
) -> Neighbour | FdbEntry | BridgeFdbEntry | None:
    """Decode a neighbour message of any family.

    Entries that are not permanent are None (the mesh's are), but for a bridge's; with `any_state` the state
    is not looked at, as a deletion's message carries the state of the dying entry.
    """
    family, ifindex, state, flags, _ = _NEIGH.unpack_from(view, start + 16)
    attrs = attributes(view, start + 28, end)
    packed = attrs.get(c.NDA_LLADDR, b"")
    mac = packed.hex(":") if len(packed) == 6 else ""
    if family == c.AF_BRIDGE and c.NDA_MASTER in attrs:
        return (
            BridgeFdbEntry(mac, ifindex, _word(attrs, c.NDA_MASTER))
            if mac and not flags & c.NTF_SELF
            else None
        )
    if not any_state and not state & c.NUD_PERMANENT:
        return None
    if family != c.AF_BRIDGE:
        dst = _ip(attrs, c.NDA_DST)
        return Neighbour(ifindex, dst, mac) if dst and (mac or any_state) else None
    if not flags & c.NTF_SELF or c.NDA_DST not in attrs or not mac:
        return None
    return FdbEntry(ifindex, mac, _ip(attrs, c.NDA_DST) + _own_tunnel(attrs))


def _own_tunnel(attrs: dict[int, bytes]) -> str:
    text = ""
    if len(port := attrs.get(c.NDA_PORT, b"")) == 2:
        text += f" port {_BE16.unpack(port)[0]}"
    if c.NDA_VNI in attrs:
        text += f" vni {_word(attrs, c.NDA_VNI)}"
    if c.NDA_IFINDEX in attrs:
        text += f" via {_word(attrs, c.NDA_IFINDEX)}"
    return text


def nexthop(view: memoryview, start: int, end: int) -> Nexthop | None:
    """Decode a nexthop object; groups and blackholes are shown with ifindex 0."""
    _, scope, protocol, _, flags = _NEXTHOP.unpack_from(view, start + 16)
    attrs = attributes(view, start + 24, end)
    return Nexthop(
        _word(attrs, c.NHA_ID),
        _word(attrs, c.NHA_OIF),
        _ip(attrs, c.NHA_GATEWAY),
        protocol,
        bool(flags & c.RTNH_F_ONLINK),
        scope,
    )


def route(
    view: memoryview, start: int, end: int, *, expand: bool = False, any_kind: bool = False
) -> Route | None:
    """Decode a unicast route, or with `any_kind` also a blackhole and its like.

    With `expand` a nexthop object's device and gateway are shown too.
    """
    family, length, _, _, table, protocol, scope, kind, flags = _ROUTE.unpack_from(view, start + 16)
    if family not in (AF_INET, AF_INET6) or not (any_kind or kind == c.RTN_UNICAST):
        return None
    attrs = attributes(view, start + 28, end)
    width = 16 if family == AF_INET6 else 4
    packed = attrs.get(c.RTA_DST, bytes(width))
    if len(packed) != width:
        return None
    metric = _word(attrs, c.RTA_PRIORITY)
    nhid = _word(attrs, c.RTA_NH_ID)
    direct = expand or not nhid
    return Route(
        f"{text_ip(packed)}/{length}",
        protocol,
        nhid,
        _word(attrs, c.RTA_OIF) if direct else 0,
        _ip(attrs, c.RTA_GATEWAY) if direct else "",
        direct and bool(flags & c.RTNH_F_ONLINK),
        SCOPE_UNIVERSE if family == AF_INET6 else scope,
        _word(attrs, c.RTA_TABLE) or table,
        _ip(attrs, c.RTA_PREFSRC),
        0 if family == AF_INET6 and metric == c.IP6_RT_PRIO_USER else metric,
    )


def unreachable(view: memoryview, start: int, end: int) -> Unreachable | None:
    """Decode an unreachable prefix; None for a route of any other kind."""
    if view[start + 23] != c.RTN_UNREACHABLE:
        return None
    found = route(view, start, end, any_kind=True)
    return Unreachable(found.prefix, found.protocol, found.metric, found.table) if found else None


def link(view: memoryview, start: int, end: int) -> Link:
    """Decode an interface."""
    family, index, flags = _LINK.unpack_from(view, start + 16)
    attrs = attributes(view, start + 32, end)
    info = _nested(attrs, c.IFLA_LINKINFO)
    kind = _text(info, c.IFLA_INFO_KIND)
    data = _nested(info, c.IFLA_INFO_DATA) if kind == "vxlan" else {}
    spec = _nested(attrs, c.IFLA_AF_SPEC) if family != c.AF_BRIDGE else {}
    mode = _nested(spec, AF_INET6).get(c.IFLA_INET6_ADDR_GEN_MODE)
    return Link(
        name=_text(attrs, c.IFLA_IFNAME),
        kind=kind,
        index=index,
        mac=attrs.get(c.IFLA_ADDRESS, b"").hex(":"),
        mtu=_word(attrs, c.IFLA_MTU),
        up=bool(flags & c.IFF_UP),
        master=_word(attrs, c.IFLA_MASTER),
        link=_word(attrs, c.IFLA_LINK),
        addrgenmode=mode[0] if mode else None,
        vxlan=_vxlan(data) if data else None,
        hairpin=_hairpin(info),
    )


def address(view: memoryview, start: int, end: int) -> Address | None:
    """Decode an interface's IP address; None for one of another kind (Phonet, MCTP)."""
    family, length, _, scope, index = _ADDRESS.unpack_from(view, start + 16)
    if family not in (AF_INET, AF_INET6):
        return None
    attrs = attributes(view, start + 24, end)
    text = _ip(attrs, c.IFA_LOCAL) or _ip(attrs, c.IFA_ADDRESS)
    plain = bool(_word(attrs, c.IFA_FLAGS) & c.IFA_F_NOPREFIXROUTE)
    return Address(index, f"{text}/{length}", plain, scope)


def _nested(attrs: dict[int, bytes], kind: int) -> dict[int, bytes]:
    packed = attrs.get(kind)
    return attributes(memoryview(packed), 0, len(packed)) if packed else {}


def _text(attrs: dict[int, bytes], kind: int) -> str:
    return attrs.get(kind, b"").rstrip(b"\0").decode(errors="replace")


def _vxlan(data: dict[int, bytes]) -> Vxlan:
    port = data.get(c.IFLA_VXLAN_PORT, b"")
    return Vxlan(
        vni=_word(data, c.IFLA_VXLAN_ID),
        port=_BE16.unpack(port)[0] if len(port) == 2 else 0,
        local=_ip(data, c.IFLA_VXLAN_LOCAL) or _ip(data, c.IFLA_VXLAN_LOCAL6),
        learning=any(data.get(c.IFLA_VXLAN_LEARNING, b"")),
        device=_word(data, c.IFLA_VXLAN_LINK),
    )


def _hairpin(info: dict[int, bytes]) -> bool | None:
    if _text(info, c.IFLA_INFO_SLAVE_KIND) != "bridge" or c.IFLA_INFO_SLAVE_DATA not in info:
        return None
    return any(_nested(info, c.IFLA_INFO_SLAVE_DATA).get(c.IFLA_BRPORT_MODE, b""))
