"""How a bridge and its ports treat multicast, and whose a port is: messages about links, reduced to the
attributes that say so.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from quilt_netlink import constants as c
from quilt_netlink.channel import HEADER
from quilt_netlink.decode import attributes

_LINK = struct.Struct("=BxHiII")
_ATTR = struct.Struct("=HH")
_NESTED = 0x8000
# include/uapi/linux/if_link.h
_LINKINFO, _KIND, _DATA, _SLAVE_KIND, _SLAVE_DATA = 18, 1, 2, 4, 5
_NAME, _ALIAS, _FAST_LEAVE, _MAX_GROUPS = 3, 20, 7, 42
_NUMBER = struct.Struct("=I")
_SHAPES: dict[str, tuple[int, str]] = {
    "router": (22, "=B"),
    "snooping": (23, "=B"),
    "query_use_ifaddr": (24, "=B"),
    "querier": (25, "=B"),
    "hash_max": (27, "=I"),
    "startup_query_cnt": (29, "=I"),
    "last_member_intvl": (30, "=Q"),
    "query_response_intvl": (34, "=Q"),
    "startup_query_intvl": (35, "=Q"),
    "igmp_version": (43, "=B"),
}


@dataclass(frozen=True, slots=True)
class Snooping:
    """How a bridge treats IPv4 multicast; intervals in hundredths of a second, as the kernel counts them.

    `hash_max` is how many groups it can know: asked to learn one more the kernel turns snooping off.
    `router` 2 hands every group's packets to the host as well, 1 only where the kernel heard a router.
    A host that hears a query of version 2 changes to that version, and a leave that it makes before it has
    answered is never sent: the group would go on for minutes.
    """

    snooping: int = 1
    querier: int = 1
    router: int = 2
    query_use_ifaddr: int = 1
    query_response_intvl: int = 100
    last_member_intvl: int = 100
    startup_query_cnt: int = 4
    startup_query_intvl: int = 200
    igmp_version: int = 3
    hash_max: int = 64 * 4096


PLAIN = Snooping(
    querier=0,
    router=1,
    query_use_ifaddr=0,
    query_response_intvl=1000,
    startup_query_cnt=2,
    startup_query_intvl=3125,
    igmp_version=2,
    hash_max=4096,
)
"""What the kernel gives a new bridge."""


def set_snooping(bridge: int, wanted: Snooping) -> list[bytes]:
    """Encode a change of a bridge's settings, in order.

    A bridge floods every group until its querier waited for a whole response interval, and asks by the
    intervals that it has when it becomes the querier: those must be set before.
    """
    changes = [replace(wanted, querier=0), wanted] if wanted.querier else [wanted]
    return [_change(bridge, _KIND, "bridge", _DATA, _values(change)) for change in changes]


def _values(wanted: Snooping) -> list[tuple[int, bytes]]:
    return [(number, struct.pack(shape, getattr(wanted, name))) for name, (number, shape) in _SHAPES.items()]


def set_fast_leave(port: int, on: bool) -> bytes:
    """Encode a change of a bridge port's setting."""
    return _change(port, _SLAVE_KIND, "bridge", _SLAVE_DATA, [(_FAST_LEAVE, bytes([on]))])


def read_snooping(message: bytes) -> Snooping | None:
    """Read a bridge's settings; None for what is no bridge or knows no snooping."""
    data = _nested(message, _KIND, _DATA)
    if data is None or _SHAPES["snooping"][0] not in data:
        return None
    return Snooping(
        **{name: struct.unpack(shape, data[number])[0] for name, (number, shape) in _SHAPES.items()}
    )


def set_alias(name: str, text: str) -> bytes:
    """Encode a change of the text that people see beside an interface: at most 254 bytes."""
    values = _attribute(_NAME, name.encode() + b"\x00") + _attribute(_ALIAS, text.encode() + b"\x00")
    body = _LINK.pack(0, 0, 0, 0, 0) + values
    return HEADER.pack(HEADER.size + len(body), c.RTM_NEWLINK, c.NLM_F_REQUEST, 0, 0) + body


def read_alias(message: bytes) -> str:
    """Read the text that people see beside an interface, empty where there is none."""
    found = attributes(memoryview(message), HEADER.size + _LINK.size, len(message)).get(_ALIAS, b"")
    return bytes(found).rstrip(b"\x00").decode(errors="replace")


def read_fast_leave(message: bytes) -> bool | None:
    """Read a port's setting; None for what is no port of a bridge."""
    data = _nested(message, _SLAVE_KIND, _SLAVE_DATA)
    return None if data is None or _FAST_LEAVE not in data else data[_FAST_LEAVE] != b"\x00"


def set_max_groups(port: int, most: int) -> bytes:
    """Encode how many groups the kernel learns behind a bridge's port; 0: any number."""
    return _change(port, _SLAVE_KIND, "bridge", _SLAVE_DATA, [(_MAX_GROUPS, _NUMBER.pack(most))])


def read_max_groups(message: bytes) -> int | None:
    """Read a port's limit; None for what is no port of a bridge, and before Linux 6.3."""
    data = _nested(message, _SLAVE_KIND, _SLAVE_DATA)
    return None if data is None or _MAX_GROUPS not in data else int(_NUMBER.unpack(data[_MAX_GROUPS])[0])


def _nested(message: bytes, kind: int, data: int) -> dict[int, bytes] | None:
    found = attributes(memoryview(message), HEADER.size + _LINK.size, len(message)).get(_LINKINFO)
    info = attributes(memoryview(found), 0, len(found)) if found else {}
    if info.get(kind, b"").rstrip(b"\x00") != b"bridge" or data not in info:
        return None
    return attributes(memoryview(info[data]), 0, len(info[data]))


def _change(index: int, kind: int, text: str, data: int, values: list[tuple[int, bytes]]) -> bytes:
    inner = b"".join(_attribute(number, value) for number, value in values)
    info = _attribute(kind, text.encode() + b"\x00") + _attribute(data | _NESTED, inner)
    body = _LINK.pack(0, 0, index, 0, 0) + _attribute(_LINKINFO | _NESTED, info)
    return HEADER.pack(HEADER.size + len(body), c.RTM_NEWLINK, c.NLM_F_REQUEST, 0, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTR.pack(_ATTR.size + len(value), kind) + value + b"\x00" * (-len(value) % 4)
