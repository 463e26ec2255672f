"""The other end of a veth pair, asked for through this end: also where it lies in a namespace that is closed.

The kernel answers for another namespace who may administer it (IFLA_TARGET_NETNSID, Linux 4.20): NET_ADMIN in
the namespace's owner or above is enough, nobody has to enter it.
"""

from __future__ import annotations

import struct

from quilt_netlink import constants as c
from quilt_netlink.channel import HEADER
from quilt_netlink.decode import attributes

_LINK = struct.Struct("=BxHiII")
_ADDRESS, _PEER, _EXT_MASK, _PEER_NETNSID, _TARGET_NETNSID = 1, 5, 29, 37, 46
_ATTR = struct.Struct("=HHi")


def ask(message: bytes) -> bytes | None:
    """Encode the question for the other end of the interface in `message`; None where there is none."""
    found = attributes(memoryview(message), HEADER.size + _LINK.size, len(message))
    if _PEER not in found:
        return None
    index = struct.unpack("=I", found[_PEER])[0]
    values = _ATTR.pack(8, _EXT_MASK, c.RTEXT_FILTER_SKIP_STATS)
    if _PEER_NETNSID in found:
        values += _ATTR.pack(8, _TARGET_NETNSID, struct.unpack("=i", found[_PEER_NETNSID])[0])
    body = _LINK.pack(0, 0, index, 0, 0) + values
    return HEADER.pack(HEADER.size + len(body), c.RTM_GETLINK, c.NLM_F_REQUEST, 0, 0) + body


def read_mac(message: bytes) -> str | None:
    """Read an interface's MAC; None where it has none of six bytes."""
    found = attributes(memoryview(message), HEADER.size + _LINK.size, len(message)).get(_ADDRESS, b"")
    return ":".join(f"{byte:02x}" for byte in found) if len(found) == 6 else None
