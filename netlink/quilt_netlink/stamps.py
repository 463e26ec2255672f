"""Which shapes of hot messages exist, and how entries are stamped into their shape.

A stamper takes an operation, entries that are all of one shape (family, which attributes are there) and the
sequence numbers of their messages; entries of several shapes it refuses. Shapes are compiled when first met;
a mesh uses a handful.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from socket import AF_INET, AF_INET6
from typing import Any, TypeVar

from quilt_netlink import constants as c
from quilt_netlink.messages import Attributes, encode, ndmsg, nhmsg, pack_ips, pack_macs, rtmsg
from quilt_netlink.ops import Create, Delete, Op, Put
from quilt_netlink.state import FdbEntry, Neighbour, Nexthop, Route
from quilt_netlink.template import Slot, Template, ip, mac, u8, u32

T = TypeVar("T")
OpType = Any
"""type[Op]; mypy takes no class for hashable when its instances are frozen and slotted."""
Stamper = Callable[[OpType, Sequence[Any], Sequence[int]], list[bytes]]
"""Raises MixedError, or OSError, ValueError or struct.error where a value cannot be encoded."""


class MixedError(ValueError):
    """The entries are not all of one shape."""

    def __init__(self) -> None:
        super().__init__("entries of several shapes")


def same(column: Sequence[T]) -> T:
    """Return the value that all have; raises MixedError."""
    if column.count(column[0]) != len(column):
        raise MixedError
    return column[0]


def given(column: Sequence[Any]) -> bool:
    """Whether an optional value is there, in all or in none; raises MixedError."""
    if any(column) != all(column):
        raise MixedError
    return bool(column[0])


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
        attrs: Attributes = [("NDA_DST", value["dst"])]
        attrs += [("NDA_LLADDR", value["mac"])] if has_mac else []
        return encode(ndmsg, kind, FLAGS[op], fields, attrs, value["seq"])

    has_mac = op is not Delete
    slots = [_SEQ, u32("ifindex"), ip("dst", v6=v6)]
    return Template(build, [*slots, mac("mac")] if has_mac else slots)


def stamp_neighbours(op: OpType, entries: Sequence[Neighbour], seqs: Sequence[int]) -> list[bytes]:
    """Encode an operation on neighbours of one family; a removal needs no MAC."""
    dsts = pack_ips([entry.address for entry in entries])
    template = neighbour_template(op, len(dsts[0]) == 16)
    macs = [] if op is Delete else [pack_macs([entry.mac for entry in entries])]
    return template.stamp(seqs, [entry.ifindex for entry in entries], dsts, *macs)


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


def stamp_fdb(op: OpType, entries: Sequence[FdbEntry], seqs: Sequence[int]) -> list[bytes]:
    """Encode an operation on VXLAN forwarding entries whose destinations are of one family."""
    columns = (seqs, [entry.ifindex for entry in entries], pack_macs([entry.mac for entry in entries]))
    hosts = [entry.dst for entry in entries]
    if not given(hosts):
        return fdb_template(op, 0).stamp(*columns)
    dsts = pack_ips(hosts)
    return fdb_template(op, len(dsts[0])).stamp(*columns, dsts)


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


def stamp_nexthops(op: OpType, entries: Sequence[Nexthop], seqs: Sequence[int]) -> list[bytes]:
    """Encode an operation on nexthop objects whose gateways are of one family."""
    ids = [entry.id for entry in entries]
    if op is Delete:
        return nexthop_template(op, 0, False).stamp(seqs, ids)
    columns = (seqs, [entry.protocol for entry in entries], ids, [entry.ifindex for entry in entries])
    gateways = [entry.gateway for entry in entries]
    if not given(gateways):
        return nexthop_template(op, 0, False).stamp(*columns)
    packed = pack_ips(gateways)
    onlink = same([entry.onlink for entry in entries])
    return nexthop_template(op, len(packed[0]), onlink).stamp(*columns, packed)


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


def stamp_routes(op: OpType, entries: Sequence[Route], seqs: Sequence[int]) -> list[bytes]:
    """Encode an operation on routes of one family with the same optional attributes.

    A delete matches any scope, and any nexthop object: the kernel refuses one that names an object which has
    gone already, and has then removed the route itself.
    """
    prefixes = [entry.prefix.partition("/") for entry in entries]
    dsts = pack_ips([address for address, _, _ in prefixes])
    whole = 8 * len(dsts[0])
    tables = [entry.table for entry in entries]
    columns: list[Sequence[int | bytes]] = [
        seqs,
        [int(length) if length else whole for _, _, length in prefixes],
        [table if table < 256 else c.RT_TABLE_COMPAT for table in tables],
        [entry.protocol for entry in entries],
        [c.RT_SCOPE_NOWHERE if op is Delete else entry.scope for entry in entries],
        dsts,
        tables,
    ]
    optional: tuple[Sequence[Any], ...] = (
        [0 if op is Delete else entry.nhid for entry in entries],
        [entry.ifindex for entry in entries],
        [entry.metric for entry in entries],
        [entry.gateway for entry in entries],
        [entry.prefsrc for entry in entries],
    )
    present = tuple(map(given, optional))
    for (_, _, address), there, column in zip(_ROUTE_ATTRS, present, optional, strict=True):
        if there:
            columns.append(pack_ips(column) if address else column)
    onlink = same([entry.onlink for entry in entries])
    return route_template(op, whole == 128, onlink, present).stamp(*columns)


STAMPERS: dict[type[Any], Stamper] = {
    Neighbour: stamp_neighbours,
    FdbEntry: stamp_fdb,
    Nexthop: stamp_nexthops,
    Route: stamp_routes,
}
"""The kinds of entries that go in batches; all others are written one by one."""


def stamp(ops: Sequence[Op], seqs: Sequence[int]) -> list[bytes]:
    """Encode operations of one kind on entries of one shape; raises like a Stamper."""
    entries = [op.entry for op in ops]
    return STAMPERS[same(list(map(type, entries)))](same(list(map(type, ops))), entries, seqs)
