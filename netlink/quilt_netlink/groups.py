"""Messages about multicast group entries: RTM_*MDB, of bridges and of VXLAN devices.

IPv4 groups only: an entry of another family is not represented.
"""

from __future__ import annotations

from socket import AF_INET, inet_ntop, inet_pton

from quilt_netlink import constants as c
from quilt_netlink.messages import Message, encode
from quilt_netlink.ops import FLAGS, Delete, Op
from quilt_netlink.schema import mdbmsg, mdbset
from quilt_netlink.state import BridgeGroup, GroupEntry, VxlanGroup

_IPV4 = b"\x08\x00"
_PERMANENT = 1


def dump_request() -> bytes:
    """Encode the dump of every device's group entries; the kernel filters by nothing."""
    return encode(mdbmsg, c.RTM_GETMDB, c.NLM_F_REQUEST | c.NLM_F_DUMP, {"family": c.AF_BRIDGE}, [])


def write(verb: type[Op], entry: VxlanGroup, seq: int) -> bytes:
    """Encode an operation on a VXLAN device's entry; OSError for an invalid address."""
    kind = c.RTM_DELMDB if verb is Delete else c.RTM_NEWMDB
    group = inet_pton(AF_INET, entry.group)
    wire = {"ifindex": entry.ifindex, "state": _PERMANENT, "group": group, "proto": _IPV4}
    more = [("MDBE_ATTR_DST", entry.dst)]
    more += [("MDBE_ATTR_SOURCE", entry.source)] if entry.source else []
    fields = {"family": c.AF_BRIDGE, "ifindex": entry.ifindex}
    attrs = [("MDBA_SET_ENTRY", wire), ("MDBA_SET_ENTRY_ATTRS", {"attrs": more})]
    return encode(mdbset, kind, FLAGS[verb], fields, attrs, seq)


def read_groups(found: Message) -> tuple[GroupEntry, ...]:
    """Make the entries of a message of a dump or a notification: many, or none that we represent."""
    items = [item for entry in found.get("MDBA_MDB", ()) for item in entry if item["proto"] == _IPV4]
    return tuple(_entry(found["ifindex"], item) for item in items)


def _entry(device: int, item: Message) -> GroupEntry:
    group = inet_ntop(AF_INET, item["group"])
    source, dst = (_given(item.get(name)) for name in ("MDBA_MDB_EATTR_SOURCE", "MDBA_MDB_EATTR_DST"))
    if dst:
        return VxlanGroup(device, group, dst, source)
    return BridgeGroup(device, item["ifindex"], group, source)


def _given(address: str | None) -> str:
    return address if address and address != "0.0.0.0" and ":" not in address else ""  # noqa: S104  # "none"
