"""Which shapes of hot messages exist, and how an entry is stamped into its shape.

A stamper takes the operation, its entry and the sequence number. Shapes (family, which attributes are
there) are compiled when first met; a mesh uses a handful.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from socket import AF_INET, AF_INET6
from typing import Any

from quilt_netlink import constants as c
from quilt_netlink.messages import Attributes, encode, ndmsg, nhmsg, pack_ip, pack_mac, rtmsg
from quilt_netlink.ops import Create, Delete, Op, Put
from quilt_netlink.state import FdbEntry, Neighbour, Nexthop, Route
from quilt_netlink.template import Slot, Template, ip, mac, u8, u32

OpType = Any
"""type[Op]; mypy takes no class for hashable when its instances are frozen and slotted."""
Stamper = Callable[[OpType, Any, int], bytes]

FLAGS: dict[type[Op], int] = {
    Create: c.NLM_F_REQUEST | c.NLM_F_CREATE | c.NLM_F_EXCL,
    Put: c.NLM_F_REQUEST | c.NLM_F_CREATE | c.NLM_F_REPLACE,
    Delete: c.NLM_F_REQUEST,
}
_SEQ = u32("seq")


@lru_cache(maxsize=64)
def neighbour_template(op: OpType, v6: bool) -> Template:
    """Compile a neighbour message (key: device and address)."""
    kind = c.RTM_DELNEIGH if op is Delete else c.RTM_NEWNEIGH

    def build(value: Mapping[str, Any]) -> bytes:
        fields = {
            "family": AF_INET6 if v6 else AF_INET,
            "ifindex": value["ifindex"],
            "state": c.NUD_PERMANENT,
        }
        attrs: Attributes = [("NDA_DST", value["dst"]), ("NDA_LLADDR", value["mac"])]
        return encode(ndmsg, kind, FLAGS[op], fields, attrs, value["seq"])

    return Template(build, [_SEQ, u32("ifindex"), ip("dst", v6=v6), mac("mac")])


def stamp_neighbour(op: OpType, entry: Neighbour, seq: int) -> bytes:
    """Encode an operation on a neighbour."""
    dst = pack_ip(entry.address)
    return neighbour_template(op, len(dst) == 16).stamp(seq, entry.ifindex, dst, pack_mac(entry.mac))


@lru_cache(maxsize=64)
def fdb_template(op: OpType, size: int) -> Template:
    """Compile a VXLAN FDB message; `size` is that of the destination's address, 0 for none."""
    kind = c.RTM_DELNEIGH if op is Delete else c.RTM_NEWNEIGH

    def build(value: Mapping[str, Any]) -> bytes:
        fields = {
            "family": c.AF_BRIDGE,
            "ifindex": value["ifindex"],
            "state": c.NUD_PERMANENT,
            "flags": c.NTF_SELF,
        }
        attrs: Attributes = [("NDA_LLADDR", value["mac"])]
        if size:
            attrs.append(("NDA_DST", value["dst"]))
        return encode(ndmsg, kind, FLAGS[op], fields, attrs, value["seq"])

    slots = [_SEQ, u32("ifindex"), mac("mac")]
    return Template(build, [*slots, ip("dst", v6=size == 16)] if size else slots)


def stamp_fdb(op: OpType, entry: FdbEntry, seq: int) -> bytes:
    """Encode an operation on a VXLAN forwarding entry."""
    address = pack_mac(entry.mac)
    if not entry.dst:
        return fdb_template(op, 0).stamp(seq, entry.ifindex, address)
    dst = pack_ip(entry.dst)
    return fdb_template(op, len(dst)).stamp(seq, entry.ifindex, address, dst)


@lru_cache(maxsize=64)
def nexthop_template(op: OpType, size: int, onlink: bool) -> Template:
    """Compile a nexthop object; the kernel wants nothing but the id in order to delete one."""
    if op is Delete:

        def build_delete(value: Mapping[str, Any]) -> bytes:
            attrs: Attributes = [("NHA_ID", value["id"])]
            return encode(nhmsg, c.RTM_DELNEXTHOP, FLAGS[op], {"family": 0}, attrs, value["seq"])

        return Template(build_delete, [_SEQ, u32("id")])

    def build(value: Mapping[str, Any]) -> bytes:
        fields = {
            "family": AF_INET6 if size == 16 else AF_INET,
            "protocol": value["protocol"],
            "flags": c.RTNH_F_ONLINK if onlink else 0,
        }
        attrs: Attributes = [("NHA_ID", value["id"]), ("NHA_OIF", value["oif"])]
        if size:
            attrs.append(("NHA_GATEWAY", value["gateway"]))
        return encode(nhmsg, c.RTM_NEWNEXTHOP, FLAGS[op], fields, attrs, value["seq"])

    slots = [_SEQ, u8("protocol"), u32("id"), u32("oif")]
    return Template(build, [*slots, ip("gateway", v6=size == 16)] if size else slots)


def stamp_nexthop(op: OpType, entry: Nexthop, seq: int) -> bytes:
    """Encode an operation on a nexthop object."""
    if op is Delete:
        return nexthop_template(op, 0, False).stamp(seq, entry.id)
    if not entry.gateway:
        return nexthop_template(op, 0, False).stamp(seq, entry.protocol, entry.id, entry.ifindex)
    gateway = pack_ip(entry.gateway)
    template = nexthop_template(op, len(gateway), entry.onlink)
    return template.stamp(seq, entry.protocol, entry.id, entry.ifindex, gateway)


# The optional attributes of a route, in the order of their slots: (attribute, slot, is an address).
_ROUTE_ATTRS = (
    ("RTA_NH_ID", "nhid", False),
    ("RTA_OIF", "oif", False),
    ("RTA_PRIORITY", "metric", False),
    ("RTA_GATEWAY", "gateway", True),
    ("RTA_PREFSRC", "prefsrc", True),
)


@lru_cache(maxsize=256)
def route_template(op: OpType, v6: bool, onlink: bool, present: tuple[bool, ...]) -> Template:
    """Compile a route of a family with those optional attributes that are `present`."""
    used = [attr for attr, there in zip(_ROUTE_ATTRS, present, strict=True) if there]
    kind = c.RTM_DELROUTE if op is Delete else c.RTM_NEWROUTE

    def build(value: Mapping[str, Any]) -> bytes:
        fields = {
            "family": AF_INET6 if v6 else AF_INET,
            "dst_len": value["length"],
            "table": value["table8"],
            "proto": value["protocol"],
            "scope": value["scope"],
            "type": c.RTN_UNICAST,
            "flags": c.RTNH_F_ONLINK if onlink else 0,
        }
        attrs: Attributes = [("RTA_DST", value["dst"]), ("RTA_TABLE", value["table"])]
        attrs += [(name, value[slot]) for name, slot, _ in used]
        return encode(rtmsg, kind, FLAGS[op], fields, attrs, value["seq"])

    slots: list[Slot] = [_SEQ, u8("length"), u8("table8"), u8("protocol"), u8("scope")]
    slots += [ip("dst", v6=v6), u32("table")]
    slots += [ip(slot, v6=v6) if address else u32(slot) for _, slot, address in used]
    return Template(build, slots)


_ONLY_NHID = (True, False, False, False, False)


def stamp_route(op: OpType, entry: Route, seq: int) -> bytes:
    """Encode an operation on a route.

    A delete matches any scope, and any nexthop object: the kernel refuses one that names an object which has
    gone already, and has then removed the route itself.
    """
    text, _, length = entry.prefix.partition("/")
    dst = pack_ip(text)
    table = entry.table
    head = (
        seq,
        int(length) if length else len(dst) * 8,
        table if table < 256 else c.RT_TABLE_COMPAT,
        entry.protocol,
        c.RT_SCOPE_NOWHERE if op is Delete else entry.scope,
        dst,
        table,
    )
    nhid = 0 if op is Delete else entry.nhid
    if nhid and not (entry.ifindex or entry.metric or entry.gateway or entry.prefsrc):
        return route_template(op, len(dst) == 16, entry.onlink, _ONLY_NHID).stamp(*head, nhid)
    numbers = (nhid, entry.ifindex, entry.metric)
    addresses = (entry.gateway, entry.prefsrc)
    present = tuple(bool(value) for value in (*numbers, *addresses))
    rest = [value for value in numbers if value] + [pack_ip(value) for value in addresses if value]
    return route_template(op, len(dst) == 16, entry.onlink, present).stamp(*head, *rest)


STAMPERS: dict[type[Any], Stamper] = {
    Neighbour: stamp_neighbour,
    FdbEntry: stamp_fdb,
    Nexthop: stamp_nexthop,
    Route: stamp_route,
}
"""The kinds of entries that go in batches; all others are written one by one."""
