"""How a bridge and its ports treat multicast: attributes of their interfaces."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from quilt_netlink import constants as c
from quilt_netlink.messages import Message, encode
from quilt_netlink.schema import ifinfmsg
from quilt_netlink.shapes import Attributes

FAST_LEAVE, MAX_GROUPS = "IFLA_BRPORT_FAST_LEAVE", "IFLA_BRPORT_MCAST_MAX_GROUPS"


@dataclass(frozen=True, slots=True)
class Snooping:
    """How a bridge treats IPv4 multicast; intervals in hundredths of a second, as the kernel counts them.

    `hash_max` is how many groups it can know: asked to learn one more the kernel turns snooping off.
    `router` 2 hands every group's packets to the host as well, 1 only where the kernel knows a router.
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

_ATTRIBUTES = {field.name: f"IFLA_BR_MCAST_{field.name.upper()}" for field in fields(Snooping)}


def set_snooping(bridge: int, wanted: Snooping) -> list[bytes]:
    """Encode a change of a bridge's settings, in order.

    A bridge floods every group until its querier waited for a whole response interval, and asks by the
    intervals that it has when it becomes the querier: those must be set before.
    """
    changes = [replace(wanted, querier=0), wanted] if wanted.querier else [wanted]
    return [
        _change(bridge, "IFLA_INFO", [(name, getattr(change, field)) for field, name in _ATTRIBUTES.items()])
        for change in changes
    ]


def read_snooping(link: Message) -> Snooping | None:
    """Read a bridge's settings; None for what is no bridge or knows no snooping."""
    data = _settings(link, "IFLA_INFO")
    if not data.keys() >= set(_ATTRIBUTES.values()):
        return None
    return Snooping(**{field: data[name] for field, name in _ATTRIBUTES.items()})


def set_port(port: int, setting: str, value: int) -> bytes:
    """Encode a change of a bridge port's setting, named as its attribute."""
    return _change(port, "IFLA_INFO_SLAVE", [(setting, value)])


def read_port(link: Message, setting: str) -> int | None:
    """Read a port's setting; None for what is no port of a bridge or a kernel that does not have it."""
    return _settings(link, "IFLA_INFO_SLAVE").get(setting)


def _settings(link: Message, which: str) -> dict[str, Any]:
    info = link.get("IFLA_LINKINFO", {})
    return info.get(f"{which}_DATA", {}) if info.get(f"{which}_KIND") == "bridge" else {}


def _change(index: int, which: str, settings: Attributes) -> bytes:
    info: Attributes = [(f"{which}_KIND", "bridge"), (f"{which}_DATA", {"attrs": settings})]
    attrs: Attributes = [("IFLA_LINKINFO", {"attrs": info})]
    return encode(ifinfmsg, c.RTM_NEWLINK, c.NLM_F_REQUEST, {"index": index}, attrs)
