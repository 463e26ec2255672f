"""Operations on entries, encoded: one message each. Those on links take several (see `links`).

The four of which a mesh writes thousands at once have structs of their own: `messages.encode` would take
several times as long for each. A test compares every message with pyroute2's bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import AF_INET, AF_INET6
from struct import Struct
from typing import Any

from quilt_netlink import constants as c
from quilt_netlink import groups
from quilt_netlink.messages import HEADER, encode
from quilt_netlink.ops import FLAGS, Delete, Op
from quilt_netlink.schema import ifaddrmsg, ndmsg, nhmsg, rtmsg
from quilt_netlink.shapes import Attributes, Shape, pack_ip, pack_mac
from quilt_netlink.state import (
    SCOPE_UNIVERSE,
    Address,
    FdbEntry,
    Neighbour,
    Nexthop,
    Route,
    Unreachable,
    VxlanGroup,
)

_FAMILY = {4: AF_INET, 16: AF_INET6}
_WORD = Struct("=HHI")
_MAC = Struct("=HH6s2x")
_ADDRESS = {size: Struct(f"=HH{size}s") for size in _FAMILY}


def _struct(shape: Shape, *attributes: str) -> Struct:
    return Struct("".join((HEADER.format, shape.form, *attributes)))


_NEIGHBOUR = {size: _struct(ndmsg, f"HH{size}s") for size in _FAMILY}
_FDB = _struct(ndmsg, "HH6s2x")
_NEXTHOP = _struct(nhmsg, "HHI")
_ROUTE = {size: _struct(rtmsg, f"HH{size}s", "HHI") for size in _FAMILY}
_PERMANENT, _SELF, _BRIDGE = c.NUD_PERMANENT, c.NTF_SELF, c.AF_BRIDGE
_DST, _LLADDR = (ndmsg.attrs[name][0] for name in ("NDA_DST", "NDA_LLADDR"))
_ID, _OIF, _GATEWAY = (nhmsg.attrs[name][0] for name in ("NHA_ID", "NHA_OIF", "NHA_GATEWAY"))
_RTA_DST, _RTA_TABLE = (rtmsg.attrs[name][0] for name in ("RTA_DST", "RTA_TABLE"))
_RTA_NH_ID, _RTA_OIF, _RTA_PRIORITY, _RTA_GATEWAY, _RTA_PREFSRC = (
    rtmsg.attrs[name][0] for name in ("RTA_NH_ID", "RTA_OIF", "RTA_PRIORITY", "RTA_GATEWAY", "RTA_PREFSRC")
)


def _address(number: int, text: str) -> bytes:
    packed = pack_ip(text)
    return _ADDRESS[len(packed)].pack(len(packed) + 4, number, packed)


def neighbour(verb: type[Op], entry: Neighbour, seq: int) -> bytes:
    """Encode an operation on a neighbour; a removal needs no MAC."""
    dst = pack_ip(entry.address)
    size = len(dst)
    kind, more = c.RTM_DELNEIGH, b""
    if verb is not Delete:
        kind, more = c.RTM_NEWNEIGH, _MAC.pack(10, _LLADDR, pack_mac(entry.mac))
    shape, family, flags = _NEIGHBOUR[size], _FAMILY[size], FLAGS[verb]
    total = shape.size + len(more)
    return (
        shape.pack(total, kind, flags, seq, 0, family, entry.ifindex, _PERMANENT, 0, 0, size + 4, _DST, dst)
        + more
    )


def fdb(verb: type[Op], entry: FdbEntry, seq: int) -> bytes:
    """Encode an operation on an entry of a VXLAN device's table."""
    kind = c.RTM_DELNEIGH if verb is Delete else c.RTM_NEWNEIGH
    more = _address(_DST, entry.dst) if entry.dst else b""
    total, flags, mac = _FDB.size + len(more), FLAGS[verb], pack_mac(entry.mac)
    return (
        _FDB.pack(total, kind, flags, seq, 0, _BRIDGE, entry.ifindex, _PERMANENT, _SELF, 0, 10, _LLADDR, mac)
        + more
    )


def nexthop(verb: type[Op], entry: Nexthop, seq: int) -> bytes:
    """Encode an operation on a nexthop object; the kernel wants nothing but the id in order to delete one."""
    if verb is Delete:
        header = (_NEXTHOP.size, c.RTM_DELNEXTHOP, FLAGS[verb], seq, 0)
        return _NEXTHOP.pack(*header, 0, 0, 0, 0, 0, 8, _ID, entry.id)
    family, onlink, more = AF_INET, 0, _WORD.pack(8, _OIF, entry.ifindex)
    if entry.gateway:
        family = AF_INET6 if ":" in entry.gateway else AF_INET
        onlink = c.RTNH_F_ONLINK if entry.onlink else 0
        more += _address(_GATEWAY, entry.gateway)
    total, kind, flags = _NEXTHOP.size + len(more), c.RTM_NEWNEXTHOP, FLAGS[verb]
    return (
        _NEXTHOP.pack(total, kind, flags, seq, 0, family, 0, entry.protocol, 0, onlink, 8, _ID, entry.id)
        + more
    )


def route(verb: type[Op], entry: Route, seq: int) -> bytes:
    """Encode an operation on a unicast route.

    A delete matches any scope, and any nexthop object: the kernel refuses one that names an object which has
    gone already, and has then removed the route itself.
    """
    address, _, length = entry.prefix.partition("/")
    dst = pack_ip(address)
    size, table = len(dst), entry.table
    kind, scope, more = c.RTM_NEWROUTE, entry.scope, b""
    if verb is Delete:
        kind, scope = c.RTM_DELROUTE, c.RT_SCOPE_NOWHERE
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
    shape = _ROUTE[size]
    bits = int(length) if length else 8 * size
    table8 = table if table < 256 else c.RT_TABLE_COMPAT
    onlink = c.RTNH_F_ONLINK if entry.onlink else 0
    header = (shape.size + len(more), kind, FLAGS[verb], seq, 0)
    fields = (_FAMILY[size], bits, 0, 0, table8, entry.protocol, scope, c.RTN_UNICAST, onlink)
    return shape.pack(*header, *fields, size + 4, _RTA_DST, dst, 8, _RTA_TABLE, table) + more


def address(verb: type[Op], entry: Address, seq: int) -> bytes:
    """Encode an operation on an interface's address."""
    text, _, length = entry.address.partition("/")
    v6 = ":" in text
    fields = {
        "family": AF_INET6 if v6 else AF_INET,
        "prefixlen": int(length) if length else (128 if v6 else 32),
        "index": entry.ifindex,
        "scope": entry.scope,
    }
    bits = (c.IFA_F_NODAD if v6 else 0) | (c.IFA_F_NOPREFIXROUTE if entry.noprefixroute else 0)
    attrs: Attributes = [("IFA_LOCAL", text), ("IFA_ADDRESS", text), ("IFA_FLAGS", bits)]
    kind = c.RTM_DELADDR if verb is Delete else c.RTM_NEWADDR
    return encode(ifaddrmsg, kind, FLAGS[verb], fields, attrs, seq)


def unreachable(verb: type[Op], entry: Unreachable, seq: int) -> bytes:
    """Encode an operation on an unreachable prefix."""
    dst, _, length = entry.prefix.partition("/")
    gone = verb is Delete
    fields = {
        "family": AF_INET6 if ":" in dst else AF_INET,
        "dst_len": int(length),
        "table": entry.table if entry.table < 256 else c.RT_TABLE_COMPAT,
        "proto": entry.protocol,
        "scope": c.RT_SCOPE_NOWHERE if gone else SCOPE_UNIVERSE,
        "type": c.RTN_UNREACHABLE,
    }
    attrs: Attributes = [("RTA_DST", dst), ("RTA_TABLE", entry.table)]
    attrs += [("RTA_PRIORITY", entry.metric)] if entry.metric else []
    return encode(rtmsg, c.RTM_DELROUTE if gone else c.RTM_NEWROUTE, FLAGS[verb], fields, attrs, seq)


ENCODERS: dict[type[Any], Callable[[type[Op], Any, int], bytes]] = {
    Neighbour: neighbour,
    FdbEntry: fdb,
    Nexthop: nexthop,
    Route: route,
    VxlanGroup: groups.write,
    Address: address,
    Unreachable: unreachable,
}
"""The kinds of entries that go in batches: all but links."""
