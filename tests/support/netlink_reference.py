"""pyroute2 as the reference: what our one codec (`shapes`, `writes`, `decode`) must agree with.

Here it also learns the one message and the one attribute that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg as pyroute2_rtmsg

__all__ = ["Attributes", "decode", "encode", "fibmsg", "ifaddrmsg", "ifinfmsg", "ndmsg", "nhmsg", "rtmsg"]

Attributes = list[tuple[str, Any]]


class nhmsg(nlmsg):  # type: ignore[misc]  # noqa: N801  # named as the kernel's struct, like its siblings
    """A nexthop object (include/uapi/linux/nexthop.h)."""

    prefix = "NHA_"
    fields = (("family", "B"), ("scope", "B"), ("protocol", "B"), ("resvd", "B"), ("flags", "I"))
    nla_map = (
        ("NHA_UNSPEC", "none"),
        ("NHA_ID", "uint32"),
        ("NHA_GROUP", "hex"),
        ("NHA_GROUP_TYPE", "uint16"),
        ("NHA_BLACKHOLE", "flag"),
        ("NHA_OIF", "uint32"),
        ("NHA_GATEWAY", "target"),
        ("NHA_ENCAP_TYPE", "uint16"),
        ("NHA_ENCAP", "hex"),
        ("NHA_GROUPS", "flag"),
        ("NHA_MASTER", "uint32"),
        ("NHA_FDB", "flag"),
    )


class rtmsg(pyroute2_rtmsg):  # type: ignore[misc]  # noqa: N801  # as above
    """A route, with the attributes up to RTA_NH_ID (include/uapi/linux/rtnetlink.h)."""

    nla_map = (
        *pyroute2_rtmsg.nla_map,
        ("RTA_PAD", "hex"),
        ("RTA_UID", "uint32"),
        ("RTA_TTL_PROPAGATE", "uint8"),
        ("RTA_IP_PROTO", "uint8"),
        ("RTA_SPORT", "be16"),
        ("RTA_DPORT", "be16"),
        ("RTA_NH_ID", "uint32"),
    )


def encode(
    kind: type[Any],
    message_type: int,
    flags: int,
    fields: Mapping[str, int],
    attrs: Attributes,
    seq: int = 0,
) -> bytes:
    """Encode one message with pyroute2."""
    message = kind()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attrs
    message["header"] = {"type": message_type, "flags": flags, "sequence_number": seq, "pid": 0}
    message.encode()
    return bytes(message.data)


def decode(kind: type[Any], data: bytes) -> Any:
    """Decode one message, header included, with pyroute2."""
    message = kind(data)
    message.decode()
    return message
