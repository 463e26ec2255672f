"""The shapes of the messages that we send and read: fixed fields, and attributes by name.

Names and numbers are those of include/uapi/linux/{if_link,if_addr,neighbour,nexthop,rtnetlink}.h; a test
compares every line with pyroute2's tables, and messages made of them with pyroute2's byte for byte. What is
not listed here is neither written nor read.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

U8, U16, U32, U64 = struct.Struct("=B"), struct.Struct("=H"), struct.Struct("=I"), struct.Struct("=Q")
BE16 = struct.Struct(">H")
TEXT, MAC, IP, RAW = "text", "mac", "ip", "raw"
"""Text ends in a zero byte; a MAC has six bytes; an address is of either family, told by its size; raw is
bytes as they are.
"""


@dataclass(frozen=True, slots=True)
class Nested:
    """Attributes within an attribute, behind a `head` of zeros."""

    attrs: Mapping[str, tuple[int, Type]]
    head: int = 0


@dataclass(frozen=True, slots=True)
class ByKind:
    """Attributes whose meaning a text attribute beside them decides."""

    decider: str
    kinds: Mapping[str, Nested]


Type = struct.Struct | str | Nested | ByKind
Attrs = Mapping[str, tuple[int, Type]]


@dataclass(frozen=True, slots=True)
class Schema:
    """One kind of message; `names` are its fixed fields in the order of `fixed`."""

    fixed: struct.Struct
    names: tuple[str, ...]
    attrs: Attrs
    places: Mapping[str, int] = field(init=False)
    numbers: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {name: place for place, name in enumerate(self.names)})
        object.__setattr__(self, "numbers", {name: number for name, (number, _) in self.attrs.items()})


_VXLAN: Attrs = {
    "IFLA_VXLAN_ID": (1, U32),
    "IFLA_VXLAN_LINK": (3, U32),
    "IFLA_VXLAN_LOCAL": (4, IP),
    "IFLA_VXLAN_LEARNING": (7, U8),
    "IFLA_VXLAN_PORT": (15, BE16),
    "IFLA_VXLAN_LOCAL6": (17, IP),
}
_BRIDGE: Attrs = {
    "IFLA_BR_MCAST_ROUTER": (22, U8),
    "IFLA_BR_MCAST_SNOOPING": (23, U8),
    "IFLA_BR_MCAST_QUERY_USE_IFADDR": (24, U8),
    "IFLA_BR_MCAST_QUERIER": (25, U8),
    "IFLA_BR_MCAST_HASH_ELASTICITY": (26, U32),
    "IFLA_BR_MCAST_HASH_MAX": (27, U32),
    "IFLA_BR_MCAST_LAST_MEMBER_CNT": (28, U32),
    "IFLA_BR_MCAST_STARTUP_QUERY_CNT": (29, U32),
    "IFLA_BR_MCAST_LAST_MEMBER_INTVL": (30, U64),
    "IFLA_BR_MCAST_MEMBERSHIP_INTVL": (31, U64),
    "IFLA_BR_MCAST_QUERIER_INTVL": (32, U64),
    "IFLA_BR_MCAST_QUERY_INTVL": (33, U64),
    "IFLA_BR_MCAST_QUERY_RESPONSE_INTVL": (34, U64),
    "IFLA_BR_MCAST_STARTUP_QUERY_INTVL": (35, U64),
    "IFLA_BR_MCAST_STATS_ENABLED": (42, U8),
    "IFLA_BR_MCAST_IGMP_VERSION": (43, U8),
}
_BRIDGE_PORT: Attrs = {"IFLA_BRPORT_MODE": (4, U8), "IFLA_BRPORT_FAST_LEAVE": (7, U8)}
_PEER: Attrs = {
    "IFLA_ADDRESS": (1, MAC),
    "IFLA_IFNAME": (3, TEXT),
    "IFLA_MTU": (4, U32),
    "IFLA_MASTER": (10, U32),
    "IFLA_NET_NS_FD": (28, U32),
}
_VETH: Attrs = {"VETH_INFO_PEER": (1, Nested(_PEER, head=16))}
_INFO: Attrs = {
    "IFLA_INFO_KIND": (1, TEXT),
    "IFLA_INFO_DATA": (
        2,
        ByKind("IFLA_INFO_KIND", {"vxlan": Nested(_VXLAN), "bridge": Nested(_BRIDGE), "veth": Nested(_VETH)}),
    ),
    "IFLA_INFO_SLAVE_KIND": (4, TEXT),
    "IFLA_INFO_SLAVE_DATA": (5, ByKind("IFLA_INFO_SLAVE_KIND", {"bridge": Nested(_BRIDGE_PORT)})),
}
_AF_SPEC: Attrs = {"AF_INET6": (10, Nested({"IFLA_INET6_ADDR_GEN_MODE": (8, U8)}))}

ifinfmsg = Schema(
    struct.Struct("=BxHiII"),
    ("family", "ifi_type", "index", "flags", "change"),
    {
        **_PEER,
        "IFLA_LINK": (5, U32),
        "IFLA_LINKINFO": (18, Nested(_INFO)),
        "IFLA_AF_SPEC": (26, Nested(_AF_SPEC)),
        "IFLA_EXT_MASK": (29, U32),
    },
)
"""An interface."""

ifaddrmsg = Schema(
    struct.Struct("=BBBBI"),
    ("family", "prefixlen", "flags", "scope", "index"),
    {"IFA_ADDRESS": (1, IP), "IFA_LOCAL": (2, IP), "IFA_FLAGS": (8, U32)},
)
"""An address of an interface."""

ndmsg = Schema(
    struct.Struct("=B3xiHBB"),
    ("family", "ifindex", "state", "flags", "ndm_type"),
    {
        "NDA_DST": (1, IP),
        "NDA_LLADDR": (2, MAC),
        "NDA_PORT": (6, BE16),
        "NDA_VNI": (7, U32),
        "NDA_IFINDEX": (8, U32),
        "NDA_MASTER": (9, U32),
    },
)
"""A neighbour, or an entry of a forwarding table."""

nhmsg = Schema(
    struct.Struct("=BBBBI"),
    ("family", "scope", "protocol", "resvd", "flags"),
    {"NHA_ID": (1, U32), "NHA_OIF": (5, U32), "NHA_GATEWAY": (6, IP)},
)
"""A nexthop object."""

rtmsg = Schema(
    struct.Struct("=BBBBBBBBI"),
    ("family", "dst_len", "src_len", "tos", "table", "proto", "scope", "type", "flags"),
    {
        "RTA_DST": (1, IP),
        "RTA_OIF": (4, U32),
        "RTA_GATEWAY": (5, IP),
        "RTA_PRIORITY": (6, U32),
        "RTA_PREFSRC": (7, IP),
        "RTA_TABLE": (15, U32),
        "RTA_NH_ID": (30, U32),
    },
)
"""A route."""
