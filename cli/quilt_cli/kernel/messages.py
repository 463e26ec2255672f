"""Messages of the kernel that pyroute2 knows not at all, or not whole, in its own terms."""

from __future__ import annotations

from pyroute2.netlink import nla, nlmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg_base

# include/uapi/linux/rtnetlink.h
RTM_NEWROUTE = 24
RTM_NEWMDB, RTM_GETMDB = 84, 86
RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106


class Nexthop(nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """A nexthop object (include/uapi/linux/nexthop.h); `NHA_GROUP` is an array of `struct nexthop_grp`."""

    prefix = "NHA_"
    fields = (("family", "B"), ("scope", "B"), ("protocol", "B"), ("resvd", "B"), ("flags", "I"))
    nla_map = (
        ("NHA_UNSPEC", "none"),
        ("NHA_ID", "uint32"),
        ("NHA_GROUP", "cdata"),
        ("NHA_GROUP_TYPE", "uint16"),
        ("NHA_BLACKHOLE", "flag"),
        ("NHA_OIF", "uint32"),
        ("NHA_GATEWAY", "ipaddr"),
        ("NHA_ENCAP_TYPE", "uint16"),
        ("NHA_ENCAP", "hex"),
        ("NHA_GROUPS", "flag"),
        ("NHA_MASTER", "uint32"),
        ("NHA_FDB", "flag"),
    )


# Not of rtmsg: its table of attributes is made once, and subclasses would have it.
class Route(rtmsg_base, nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """A route with the id of its nexthop object (include/uapi/linux/rtnetlink.h).

    Addresses are decoded by their length: the families of multicast routes have addresses of others.
    """

    __slots__ = ()
    nla_map = (
        *((name, "ipaddr" if kind == "target" else kind) for name, kind in rtmsg_base.nla_map),
        ("RTA_PAD", "none"),
        ("RTA_UID", "uint32"),
        ("RTA_TTL_PROPAGATE", "uint8"),
        ("RTA_IP_PROTO", "uint8"),
        ("RTA_SPORT", "be16"),
        ("RTA_DPORT", "be16"),
        ("RTA_NH_ID", "uint32"),
    )


class Groups(nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """The multicast groups of a bridge (`struct br_port_msg` of include/uapi/linux/if_bridge.h)."""

    prefix = "MDBA_"
    fields = (("family", "B"), ("__pad", "3x"), ("ifindex", "I"))
    nla_map = (("MDBA_UNSPEC", "none"), ("MDBA_MDB", "mdb"), ("MDBA_ROUTER", "hex"))

    class mdb(nla):  # type: ignore[misc]  # noqa: N801  # pyroute2 finds it by the name above
        """All entries."""

        nla_map = (("MDBA_MDB_UNSPEC", "none"), ("MDBA_MDB_ENTRY", "entry"))

        class entry(nla):  # type: ignore[misc]  # noqa: N801
            """One entry: `struct br_mdb_entry`, which is followed by attributes."""

            nla_map = (("MDBA_MDB_ENTRY_UNSPEC", "none"), ("MDBA_MDB_ENTRY_INFO", "cdata"))
