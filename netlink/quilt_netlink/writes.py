"""Operations on entries, encoded: one message each. Those on links take several (see `links`).

The four of which a mesh writes thousands at once have structs of their own: `Kind.encode` would take
several times as long for each. A test compares every message with pyroute2's bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import AF_INET, AF_INET6, inet_pton
from struct import Struct
from typing import Any

from quilt_netlink import constants as c
from quilt_netlink import state
from quilt_netlink.ops import FLAGS, Delete, Op
from quilt_netlink.schema import IPV4, fibmsg, ifaddrmsg, mdbset, ndmsg, nhmsg, rtmsg
from quilt_netlink.shapes import ATTRIBUTE, BITS, DEL, NEW, Kind, Message, family_of, pack_ip, pack_mac

_FAMILY: dict[int, int] = {4: AF_INET, 16: AF_INET6}
_WORD = Struct("=HHI")
_MAC = Struct("=HH6s2x")
_ADDRESS = {size: Struct(f"=HH{size}s") for size in _FAMILY}


# What is always zero is left to the padding: the port, and of the fields most.
_HEADER, _ND_FIELDS, _NH_FIELDS, _RT_FIELDS = "=IHHI4x", "B3xIHBx", "BxBxI", "BB2xBBBBI"
_NEIGHBOUR = {size: Struct(f"{_HEADER}{_ND_FIELDS}HH{size}s") for size in _FAMILY}
_FDB = Struct(f"{_HEADER}{_ND_FIELDS}HH6s2x")
_NEXTHOP = Struct(f"{_HEADER}{_NH_FIELDS}HHI")
_DEVICE_HOP = Struct(f"{_HEADER}{_NH_FIELDS}HHIHHI")
_GATEWAY_HOP = {size: Struct(f"{_DEVICE_HOP.format}{size + 4}s") for size in _FAMILY}
_ROUTE = {size: Struct(f"{_HEADER}{_RT_FIELDS}4s{size}s4sI") for size in _FAMILY}
_PERMANENT, _SELF, _BRIDGE, _ONLINK = c.NUD_PERMANENT, c.NTF_SELF, c.AF_BRIDGE, c.RTNH_F_ONLINK
_NEW_NEIGH, _NEW_HOP, _NEW_ROUTE = (kind.base + NEW for kind in (ndmsg, nhmsg, rtmsg))
_DEL_NEIGH, _DEL_HOP, _DEL_ROUTE = (kind.base + DEL for kind in (ndmsg, nhmsg, rtmsg))
_DST, _LLADDR = (ndmsg.attrs[name][0] for name in ("NDA_DST", "NDA_LLADDR"))
_ID, _OIF, _GATEWAY = (nhmsg.attrs[name][0] for name in ("NHA_ID", "NHA_OIF", "NHA_GATEWAY"))
_TO = {size: ATTRIBUTE.pack(size + 4, rtmsg.attrs["RTA_DST"][0]) for size in _FAMILY}
_TABLE = ATTRIBUTE.pack(8, rtmsg.attrs["RTA_TABLE"][0])
_RTA_NH_ID, _RTA_OIF, _RTA_PRIORITY, _RTA_GATEWAY, _RTA_PREFSRC = (
    rtmsg.attrs[name][0] for name in ("RTA_NH_ID", "RTA_OIF", "RTA_PRIORITY", "RTA_GATEWAY", "RTA_PREFSRC")
)


def _address(number: int, text: str) -> bytes:
    packed = pack_ip(text)
    return _ADDRESS[len(packed)].pack(len(packed) + 4, number, packed)


def neighbour(verb: type[Op], entry: state.Neighbour, seq: int) -> bytes:
    """Encode an operation on a neighbour; a removal needs no MAC."""
    dst = pack_ip(entry.address)
    size = len(dst)
    kind, more = _DEL_NEIGH, b""
    if verb is not Delete:
        kind, more = _NEW_NEIGH, _MAC.pack(10, _LLADDR, pack_mac(entry.mac))
    shape, family, flags = _NEIGHBOUR[size], _FAMILY[size], FLAGS[verb]
    total = shape.size + len(more)
    own = shape.pack(total, kind, flags, seq, family, entry.ifindex, _PERMANENT, 0, size + 4, _DST, dst)
    return own + more


def fdb(verb: type[Op], entry: state.FdbEntry, seq: int) -> bytes:
    """Encode an operation on an entry of a VXLAN device's table."""
    kind = _DEL_NEIGH if verb is Delete else _NEW_NEIGH
    more = _address(_DST, entry.dst) if entry.dst else b""
    size, flags, mac = _FDB.size + len(more), FLAGS[verb], pack_mac(entry.mac)
    own = _FDB.pack(size, kind, flags, seq, _BRIDGE, entry.ifindex, _PERMANENT, _SELF, 10, _LLADDR, mac)
    return own + more


def nexthop(verb: type[Op], entry: state.Nexthop, seq: int) -> bytes:
    """Encode an operation on a nexthop object; the kernel wants nothing but the id in order to delete one."""
    flags, number, index, protocol = FLAGS[verb], entry.id, entry.ifindex, entry.protocol
    if verb is Delete:
        return _NEXTHOP.pack(_NEXTHOP.size, _DEL_HOP, flags, seq, 0, 0, 0, 8, _ID, number)
    if not entry.gateway:
        own = (8, _ID, number, 8, _OIF, index)
        return _DEVICE_HOP.pack(_DEVICE_HOP.size, _NEW_HOP, flags, seq, AF_INET, protocol, 0, *own)
    gateway = pack_ip(entry.gateway)
    size = len(gateway)
    shape, family, onlink = _GATEWAY_HOP[size], _FAMILY[size], _ONLINK if entry.onlink else 0
    over = ATTRIBUTE.pack(size + 4, _GATEWAY) + gateway
    return shape.pack(
        shape.size, _NEW_HOP, flags, seq, family, protocol, onlink, 8, _ID, number, 8, _OIF, index, over
    )


def route(verb: type[Op], entry: state.Route, seq: int, kind: int = c.RTN_UNICAST) -> bytes:
    """Encode an operation on a unicast route, or one of another kind.

    A delete matches any scope, and any nexthop object: the kernel refuses one that names an object which has
    gone already, and has then removed the route itself.
    """
    address, _, length = entry.prefix.partition("/")
    dst = pack_ip(address)
    size, table = len(dst), entry.table
    number, scope, more = _NEW_ROUTE, entry.scope, b""
    if verb is Delete:
        number, scope = _DEL_ROUTE, c.RT_SCOPE_NOWHERE
    elif entry.nhid:
        more = _WORD.pack(8, _RTA_NH_ID, entry.nhid)
    if entry.ifindex:
        more += _WORD.pack(8, _RTA_OIF, entry.ifindex)
    if entry.metric:
        more += _WORD.pack(8, _RTA_PRIORITY, entry.metric)
    if entry.gateway:
        more += _address(_RTA_GATEWAY, entry.gateway)
    if entry.prefsrc:
        more += _address(_RTA_PREFSRC, entry.prefsrc)
    bits = int(length) if length else 8 * size
    table8 = table if table < 256 else c.RT_TABLE_COMPAT
    shape, family, onlink = _ROUTE[size], _FAMILY[size], _ONLINK if entry.onlink else 0
    total, flags, to, protocol = shape.size + len(more), FLAGS[verb], _TO[size], entry.protocol
    own = shape.pack(
        total, number, flags, seq, family, bits, table8, protocol, scope, kind, onlink, to, dst, _TABLE, table
    )
    return own + more


def _unreachable(verb: type[Op], entry: state.Unreachable, seq: int) -> bytes:
    prefix = state.Route(entry.prefix, entry.protocol, table=entry.table, metric=entry.metric)
    return route(verb, prefix, seq, c.RTN_UNREACHABLE)


def _other(kind: Kind, verb: type[Op], fields: Message, attrs: Message, seq: int) -> bytes:
    return kind.encode(DEL if verb is Delete else NEW, fields, attrs.items(), FLAGS[verb], seq)


def _interface_address(verb: type[Op], entry: state.Address, seq: int) -> bytes:
    text, _, length = entry.address.partition("/")
    family = family_of(text)
    bits = int(length) if length else BITS[family]
    fields = {"family": family, "prefixlen": bits, "index": entry.ifindex, "scope": entry.scope}
    flags = c.IFA_F_NODAD if family == AF_INET6 else 0
    flags |= c.IFA_F_NOPREFIXROUTE if entry.noprefixroute else 0
    return _other(ifaddrmsg, verb, fields, {"IFA_LOCAL": text, "IFA_ADDRESS": text, "IFA_FLAGS": flags}, seq)


def _group(verb: type[Op], entry: state.VxlanGroup, seq: int) -> bytes:
    packed = inet_pton(AF_INET, entry.group)
    group = {"ifindex": entry.ifindex, "state": c.MDB_PERMANENT, "group": packed, "proto": IPV4}
    more = [("MDBE_ATTR_DST", entry.dst)]
    more += [("MDBE_ATTR_SOURCE", entry.source)] if entry.source else []
    fields = {"family": c.AF_BRIDGE, "ifindex": entry.ifindex}
    attrs = {"MDBA_SET_ENTRY": group, "MDBA_SET_ENTRY_ATTRS": {"attrs": more}}
    return _other(mdbset, verb, fields, attrs, seq)


def _rule(verb: type[Op], entry: state.Rule, seq: int) -> bytes:
    family, chosen = c.RTNL_FAMILY_IPMR, {"FRA_IIFNAME": entry.interface}
    if entry.source:
        family, chosen = family_of(entry.source), {"FRA_SRC": entry.source}
    fields = {"family": family, "src_len": BITS.get(family, 0), "action": c.FR_ACT_TO_TBL}
    attrs = {**chosen, "FRA_PRIORITY": entry.priority, "FRA_TABLE": entry.table}
    return _other(fibmsg, verb, fields, attrs, seq)


ENCODERS: dict[type[Any], Callable[[type[Op], Any, int], bytes]] = {
    state.Neighbour: neighbour,
    state.FdbEntry: fdb,
    state.Nexthop: nexthop,
    state.Route: route,
    state.Unreachable: _unreachable,
    state.VxlanGroup: _group,
    state.Address: _interface_address,
    state.Rule: _rule,
}
"""The kinds of entries that go in batches: all but links."""
