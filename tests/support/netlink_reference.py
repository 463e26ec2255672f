"""pyroute2 as the reference: what our one codec (`shapes`, `writes`, `decode`) must agree with.

The messages that it knows not whole are those by which `quiltctl` judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from quilt_cli.kernel.messages import Nexthop as nhmsg  # noqa: N813  # named as the kernel's struct
from quilt_cli.kernel.messages import Route as rtmsg  # noqa: N813

__all__ = ["Attributes", "decode", "encode", "fibmsg", "ifaddrmsg", "ifinfmsg", "ndmsg", "nhmsg", "rtmsg"]

Attributes = list[tuple[str, Any]]


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
