"""The shapes of the messages that we send and read: fixed fields, and attributes by name.

Names and numbers are those of include/uapi/linux/{if_link,if_addr,if_bridge,neighbour,nexthop,rtnetlink,
fib_rules,netfilter/nf_tables}.h; a test compares every line that pyroute2 has with its tables, and messages
made of them with pyroute2's byte for byte. What is not listed here is neither written nor read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from quilt_netlink.shapes import (
    BE16,
    BE32,
    BE64,
    HOPS,
    IP,
    MAC,
    NESTED,
    RAW,
    S32,
    TEXT,
    U8,
    U32,
    U64,
    AnyType,
    ByKind,
    Kind,
    Shape,
    Type,
    items,
)
from quilt_netlink.state import Vxlan

_VXLAN = Shape(
    {
        "IFLA_VXLAN_ID": (1, U32),
        "IFLA_VXLAN_LINK": (3, U32),
        "IFLA_VXLAN_LOCAL": (4, IP),
        "IFLA_VXLAN_LEARNING": (7, U8),
        "IFLA_VXLAN_PORT": (15, BE16),
        "IFLA_VXLAN_LOCAL6": (17, IP),
    }
)
_NAMED_OTHERWISE = {"vni": "ID", "device": "LINK"}
VXLAN_ATTRIBUTES = {
    field.name: f"IFLA_VXLAN_{_NAMED_OTHERWISE.get(field.name, field.name.upper())}"
    for field in fields(Vxlan)
    if field.name != "local"
}
"""The attribute of each field of a `Vxlan` but `local`, which has one for each family."""
_BRIDGE = Shape(
    {
        "IFLA_BR_MCAST_ROUTER": (22, U8),
        "IFLA_BR_MCAST_SNOOPING": (23, U8),
        "IFLA_BR_MCAST_QUERY_USE_IFADDR": (24, U8),
        "IFLA_BR_MCAST_QUERIER": (25, U8),
        "IFLA_BR_MCAST_HASH_MAX": (27, U32),
        "IFLA_BR_MCAST_STARTUP_QUERY_CNT": (29, U32),
        "IFLA_BR_MCAST_LAST_MEMBER_INTVL": (30, U64),
        "IFLA_BR_MCAST_QUERY_RESPONSE_INTVL": (34, U64),
        "IFLA_BR_MCAST_STARTUP_QUERY_INTVL": (35, U64),
        "IFLA_BR_MCAST_IGMP_VERSION": (43, U8),
    }
)
_BRIDGE_PORT = Shape(
    {
        "IFLA_BRPORT_MODE": (4, U8),
        "IFLA_BRPORT_FAST_LEAVE": (7, U8),
        "IFLA_BRPORT_MCAST_MAX_GROUPS": (42, U32),
    }
)
_LINK: Mapping[str, tuple[int, AnyType]] = {
    "IFLA_ADDRESS": (1, MAC),
    "IFLA_IFNAME": (3, TEXT),
    "IFLA_MTU": (4, U32),
    "IFLA_MASTER": (10, U32),
    "IFLA_NET_NS_FD": (28, U32),
}
_LINK_FIELDS = ("BxHiII", "family", "ifi_type", "index", "flags", "change")
_VETH = Shape({"VETH_INFO_PEER": (1, Shape(_LINK, *_LINK_FIELDS))})
_INFO = Shape(
    {
        "IFLA_INFO_KIND": (1, TEXT),
        "IFLA_INFO_DATA": (2, ByKind("IFLA_INFO_KIND", vxlan=_VXLAN, bridge=_BRIDGE, veth=_VETH)),
        "IFLA_INFO_SLAVE_KIND": (4, TEXT),
        "IFLA_INFO_SLAVE_DATA": (5, ByKind("IFLA_INFO_SLAVE_KIND", bridge=_BRIDGE_PORT)),
    }
)
_AF_SPEC = Shape({"AF_INET6": (10, Shape({"IFLA_INET6_ADDR_GEN_MODE": (8, U8)}))})

ifinfmsg = Kind(
    16,
    {
        **_LINK,
        "IFLA_LINK": (5, U32),
        "IFLA_LINKINFO": (18, _INFO),
        "IFLA_IFALIAS": (20, TEXT),
        "IFLA_AF_SPEC": (26, _AF_SPEC),
        "IFLA_EXT_MASK": (29, U32),
        "IFLA_LINK_NETNSID": (37, S32),
        "IFLA_IF_NETNSID": (46, U32),
    },
    *_LINK_FIELDS,
)
"""An interface."""

ifaddrmsg = Kind(
    20,
    {"IFA_ADDRESS": (1, IP), "IFA_LOCAL": (2, IP), "IFA_FLAGS": (8, U32)},
    *("BBBBI", "family", "prefixlen", "flags", "scope", "index"),
)
"""An address of an interface."""

ndmsg = Kind(
    28,
    {
        "NDA_DST": (1, IP),
        "NDA_LLADDR": (2, MAC),
        "NDA_PORT": (6, BE16),
        "NDA_VNI": (7, U32),
        "NDA_IFINDEX": (8, U32),
        "NDA_MASTER": (9, U32),
    },
    *("B3xiHBB", "family", "ifindex", "state", "flags", "ndm_type"),
)
"""A neighbour, or an entry of a forwarding table."""

ndtmsg = Kind(
    64,
    {"NDTA_THRESH3": (4, U32), "NDTA_CONFIG": (5, RAW), "NDTA_STATS": (7, RAW)},
    *("B3x", "family"),
)
"""A neighbour table as a whole."""

nhmsg = Kind(
    104,
    {"NHA_ID": (1, U32), "NHA_OIF": (5, U32), "NHA_GATEWAY": (6, IP)},
    *("BBBBI", "family", "scope", "protocol", "resvd", "flags"),
)
"""A nexthop object."""

rtmsg = Kind(
    24,
    {
        "RTA_DST": (1, IP),
        "RTA_SRC": (2, IP),
        "RTA_IIF": (3, U32),
        "RTA_OIF": (4, U32),
        "RTA_GATEWAY": (5, IP),
        "RTA_PRIORITY": (6, U32),
        "RTA_PREFSRC": (7, IP),
        "RTA_MULTIPATH": (9, HOPS),
        "RTA_TABLE": (15, U32),
        "RTA_NH_ID": (30, U32),
    },
    *("BBBBBBBBI", "family", "dst_len", "src_len", "tos", "table", "proto", "scope", "type", "flags"),
)
"""A route, unicast or multicast."""

fibmsg = Kind(
    32,
    {"FRA_SRC": (2, IP), "FRA_IIFNAME": (3, TEXT), "FRA_PRIORITY": (6, U32), "FRA_TABLE": (15, U32)},
    *("BBBBBBBBI", "family", "dst_len", "src_len", "tos", "table", "res1", "res2", "action", "flags"),
)
"""A rule that chooses a routing table."""

IPV4 = b"\x08\x00"
"""The `proto` of a group entry of an IPv4 group (struct br_mdb_entry), which is in a field for IPv6."""
_MDB_ENTRY = ("IBBH4s12x2s2x", "ifindex", "state", "flags", "vid", "group", "proto")
_MDB_INFO = Shape({"MDBA_MDB_EATTR_SOURCE": (4, IP), "MDBA_MDB_EATTR_DST": (6, IP)}, *_MDB_ENTRY)
mdbmsg = Kind(
    84,
    {"MDBA_MDB": (1, items(1, items(1, _MDB_INFO)))},
    *("B3xI", "family", "ifindex"),
)
"""A device's multicast group entries, as the kernel has them."""

mdbset = Kind(
    84,
    {
        "MDBA_SET_ENTRY": (1, Shape({}, *_MDB_ENTRY)),
        "MDBA_SET_ENTRY_ATTRS": (2 | NESTED, Shape({"MDBE_ATTR_SOURCE": (1, IP), "MDBE_ATTR_DST": (5, IP)})),
    },
    *("B3xI", "family", "ifindex"),
)
"""A change of one group entry."""

_NFGENMSG = (">BBH", "family", "version", "resource")
_VERDICT = Shape({"NFTA_VERDICT_CODE": (1, BE32), "NFTA_VERDICT_CHAIN": (2, TEXT)})
_DATA = Shape({"NFTA_DATA_VALUE": (1, RAW), "NFTA_DATA_VERDICT": (2, _VERDICT)})
_ELEMENT = Shape(
    {"NFTA_SET_ELEM_KEY": (1, _DATA), "NFTA_SET_ELEM_DATA": (2, _DATA), "NFTA_SET_ELEM_FLAGS": (3, BE32)}
)
nfsetelem = Kind(
    0xA0C,
    {
        "NFTA_SET_ELEM_LIST_TABLE": (1, TEXT),
        "NFTA_SET_ELEM_LIST_SET": (2, TEXT),
        "NFTA_SET_ELEM_LIST_ELEMENTS": (3, Type(bytes, items(1, _ELEMENT).unpack)),
    },
    *_NFGENMSG,
)
"""Elements of a set of nftables; they are written packed, as thousands come at once."""

_COUNTER = Shape({"NFTA_COUNTER_BYTES": (1, BE64), "NFTA_COUNTER_PACKETS": (2, BE64)})
nfobj = Kind(
    0xA10,
    {
        "NFTA_OBJ_TABLE": (1, TEXT),
        "NFTA_OBJ_NAME": (2, TEXT),
        "NFTA_OBJ_TYPE": (3, BE32),
        "NFTA_OBJ_DATA": (4, _COUNTER),
    },
    *_NFGENMSG,
)
"""A named counter of nftables. Its messages are the last of four: answered with 18, asked for by 19."""

nftmsg = Kind(0xA00, {"NFTA_TABLE_NAME": (1, TEXT)}, *_NFGENMSG)
"""What every notification about the contents of an nftables table begins with."""

nfbatch = Kind(16, {}, *_NFGENMSG)
"""The begin (as new) and the end (as del) of a transaction of nftables."""

netconfmsg = Kind(80, {"NETCONFA_IFINDEX": (1, S32)}, *("B3x", "family"))
"""A change of an interface's forwarding switches."""

# NFT_MSG_{NEW,DEL}{TABLE,CHAIN,RULE,SET,OBJ,FLOWTABLE}, DELSETELEM
_NFT_NOTIFICATIONS = (0, 2, 3, 5, 6, 8, 9, 11, 14, 18, 20, 22, 24)
_FOURS = (ifinfmsg, ifaddrmsg, rtmsg, ndmsg, nhmsg, fibmsg, mdbmsg, netconfmsg)
READ: Mapping[int, Kind] = {
    **{kind.base + number: kind for kind in _FOURS for number in range(4)},
    **{nftmsg.base + number: nftmsg for number in _NFT_NOTIFICATIONS},
    nfsetelem.base: nfsetelem,
}
"""The shapes of what is read, by message type."""
