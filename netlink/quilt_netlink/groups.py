"""Multicast group entries: a bridge's snooped members, and where a VXLAN device sends a group's packets.

Both tables speak the same messages (RTM_*MDB, include/uapi/linux/if_bridge.h). IPv4 groups only: an entry of
another family is not represented.
"""

from __future__ import annotations

from dataclasses import dataclass
from socket import AF_INET, inet_ntop, inet_pton

from quilt_netlink import constants as c
from quilt_netlink.messages import Message, encode
from quilt_netlink.schema import mdbmsg, mdbset

_IPV4 = b"\x08\x00"
_PERMANENT = 1


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
    return encode(mdbmsg, c.RTM_GETMDB, c.NLM_F_REQUEST | c.NLM_F_DUMP, {"family": c.AF_BRIDGE}, [])


def write(kind: int, flags: int, entry: VxlanGroup, seq: int) -> bytes:
    """Encode the making or removal of a VXLAN group entry; OSError where an address is none."""
    group = inet_pton(AF_INET, entry.group)
    wire = {"ifindex": entry.ifindex, "state": _PERMANENT, "group": group, "proto": _IPV4}
    more = [("MDBE_ATTR_DST", entry.dst)]
    more += [("MDBE_ATTR_SOURCE", entry.source)] if entry.source else []
    fields = {"family": c.AF_BRIDGE, "ifindex": entry.ifindex}
    attrs = [("MDBA_SET_ENTRY", wire), ("MDBA_SET_ENTRY_ATTRS", {"attrs": more})]
    return encode(mdbset, kind, flags, fields, attrs, seq)


def read_groups(found: Message) -> tuple[GroupEntry, ...]:
    """Make the entries of a message of a dump or a notification: many, or none that we represent."""
    told = [item for entry in found.get("MDBA_MDB", ()) for item in entry if item["proto"] == _IPV4]
    return tuple(_entry(found["ifindex"], item) for item in told)


def _entry(device: int, item: Message) -> GroupEntry:
    group = inet_ntop(AF_INET, item["group"])
    source, dst = (_given(item.get(name)) for name in ("MDBA_MDB_EATTR_SOURCE", "MDBA_MDB_EATTR_DST"))
    if dst:
        return VxlanGroup(device, group, dst, source)
    return BridgeGroup(device, item["ifindex"], group, source)


def _given(address: str | None) -> str:
    return address if address and address != "0.0.0.0" and ":" not in address else ""  # noqa: S104  # "none"
