"""Multicast group entries: a bridge's snooped members, and where a VXLAN device sends a group's packets.

Both tables speak the same messages (RTM_*MDB, include/uapi/linux/if_bridge.h), which pyroute2 only names;
the shapes are fixed, so `struct` alone reads and writes them. IPv4 groups only: an entry of another family
is not represented.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from socket import AF_INET, inet_ntop, inet_pton
from typing import Any

from quilt_netlink import constants as c
from quilt_netlink.channel import HEADER
from quilt_netlink.decode import attributes
from quilt_netlink.state import FdbEntry

RTM_NEWMDB, RTM_DELMDB, RTM_GETMDB = 84, 85, 86
RTNLGRP_MDB = 26

_PORT = struct.Struct("=B3xI")
_ATTR = struct.Struct("=HH")
_NEIGH = struct.Struct("=B3xiHBB")
# struct br_mdb_entry: ifindex, state, flags, vid, group (IPv4 in a field for IPv6), its EtherType.
_ENTRY = struct.Struct("=IBBH4s12x2s2x")
_IPV4 = b"\x08\x00"
_PERMANENT = 1
_NESTED = 0x8000
_MDBA_MDB, _MDBA_MDB_ENTRY, _MDBA_MDB_ENTRY_INFO = 1, 1, 1
_EATTR_SOURCE, _EATTR_DST = 4, 6
_SET_ENTRY, _SET_ENTRY_ATTRS = 1, 2
_MDBE_SOURCE, _MDBE_DST = 1, 5


@dataclass(frozen=True, slots=True)
class BridgeGroup:
    """A member behind a bridge's port, read only; the bridge itself as `port` is a member on the host.

    `source` is empty for a member that takes the group from anybody.
    """

    bridge: int
    port: int
    group: str
    source: str = ""


@dataclass(frozen=True, slots=True)
class VxlanGroup:
    """Packets of `group` (from `source`, where one is named) that a VXLAN device sends go to host `dst`, too.

    The kernel's key is all of it: a group has one entry for each destination.
    """

    ifindex: int
    group: str
    dst: str
    source: str = ""


GroupEntry = BridgeGroup | VxlanGroup


def dump_request() -> bytes:
    """Encode the dump of every device's group entries; the kernel filters by nothing."""
    flags = c.NLM_F_REQUEST | c.NLM_F_DUMP
    return HEADER.pack(HEADER.size + _PORT.size, RTM_GETMDB, flags, 0, 0) + _PORT.pack(c.AF_BRIDGE, 0)


def stamp_group(kind: int, flags: int, entry: VxlanGroup, seq: int) -> bytes:
    """Encode the making or removal of a VXLAN group entry; OSError where an address is none."""
    wire = _ENTRY.pack(entry.ifindex, _PERMANENT, 0, 0, inet_pton(AF_INET, entry.group), _IPV4)
    extra = _attribute(_MDBE_DST, inet_pton(AF_INET, entry.dst))
    if entry.source:
        extra += _attribute(_MDBE_SOURCE, inet_pton(AF_INET, entry.source))
    body = _PORT.pack(c.AF_BRIDGE, entry.ifindex) + _attribute(_SET_ENTRY, wire)
    body += _attribute(_SET_ENTRY_ATTRS | _NESTED, extra)
    return HEADER.pack(HEADER.size + len(body), kind, flags, seq, 0) + body


def stamp_fdb(kind: int, flags: int, entry: FdbEntry, seq: int) -> bytes:
    """Encode the making or removal of one destination of a group's MAC on a VXLAN device."""
    body = _NEIGH.pack(c.AF_BRIDGE, entry.ifindex, c.NUD_PERMANENT | c.NUD_NOARP, c.NTF_SELF, 0)
    body += _attribute(c.NDA_DST, inet_pton(AF_INET, entry.dst))
    body += _attribute(c.NDA_LLADDR, bytes.fromhex(entry.mac.replace(":", "")))
    return HEADER.pack(HEADER.size + len(body), kind, flags, seq, 0) + body


def read_groups(view: memoryview, start: int, end: int) -> tuple[GroupEntry, ...]:
    """Decode a message of a dump or a notification; it may hold many entries, or none that we represent."""
    _, device = _PORT.unpack_from(view, start + HEADER.size)
    found: list[GroupEntry] = []
    for kind, at, stop in _walk(view, start + HEADER.size + _PORT.size, end):
        if kind != _MDBA_MDB:
            continue
        for entry_kind, entry_at, entry_stop in _walk(view, at, stop):
            if entry_kind == _MDBA_MDB_ENTRY:
                found += _entries(view, entry_at, entry_stop, device)
    return tuple(found)


def _entries(view: memoryview, at: int, end: int, device: int) -> list[GroupEntry]:
    found: list[GroupEntry] = []
    for kind, start, stop in _walk(view, at, end):
        if kind != _MDBA_MDB_ENTRY_INFO or stop - start < _ENTRY.size:
            continue
        port, _, _, _, group, protocol = _ENTRY.unpack_from(view, start)
        if protocol != _IPV4:
            continue
        more = attributes(view, start + _ENTRY.size, stop)
        source, dst = _ip(more.get(_EATTR_SOURCE)), _ip(more.get(_EATTR_DST))
        text = inet_ntop(AF_INET, group)
        found.append(
            VxlanGroup(device, text, dst, source) if dst else BridgeGroup(device, port, text, source)
        )
    return found


def _ip(packed: bytes | None) -> str:
    return inet_ntop(AF_INET, packed) if packed and len(packed) == 4 and any(packed) else ""


def _attribute(kind: int, value: bytes) -> bytes:
    padding = b"\x00" * (-len(value) % 4)
    return _ATTR.pack(_ATTR.size + len(value), kind) + value + padding


def _walk(view: memoryview, at: int, end: int) -> list[tuple[int, int, int]]:
    """Return (type, start, end) of the value of each attribute."""
    found: list[tuple[int, int, int]] = []
    while at + _ATTR.size <= end:
        length, kind = _ATTR.unpack_from(view, at)
        if length < _ATTR.size:
            break
        found.append((kind & 0x3FFF, at + _ATTR.size, min(at + length, end)))
        at += (length + 3) & ~3
    return found


def group_key(entry: GroupEntry) -> tuple[Any, ...]:
    """Return what the kernel tells group entries apart by."""
    if isinstance(entry, VxlanGroup):
        return ("vxlan_group", entry.ifindex, entry.group, entry.dst, entry.source)
    return ("bridge_group", entry.bridge, entry.port, entry.group, entry.source)
