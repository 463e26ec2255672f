"""Interfaces, written message by message, and how bridges and their ports treat multicast.

The kernel applies some attributes only to an existing device (IPv6 address generation, hairpin), and
generates the link-local address when the device is set up, so making a link is a short sequence of
messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from quilt_netlink import constants as c
from quilt_netlink.ops import FLAGS, Create
from quilt_netlink.schema import VXLAN_ATTRIBUTES, ifinfmsg
from quilt_netlink.shapes import DEL, GET, NEW, SET, Attributes, Message
from quilt_netlink.state import NO_LINK, Link, Vxlan

FAST_LEAVE, MAX_GROUPS = "IFLA_BRPORT_FAST_LEAVE", "IFLA_BRPORT_MCAST_MAX_GROUPS"
"""Settings of a bridge's port: whether it stops at a leave without asking around, right where one member can
be behind it; how many groups are learned behind it (0: any number), so that one pod does not fill the whole
table, which kernels before Linux 6.3 do not have.
"""
_NO_STATISTICS: Attributes = [("IFLA_EXT_MASK", c.RTEXT_FILTER_SKIP_STATS)]
_ATTRIBUTES = {
    "name": "IFLA_IFNAME",
    "mac": "IFLA_ADDRESS",
    "mtu": "IFLA_MTU",
    "master": "IFLA_MASTER",
    "netns_fd": "IFLA_NET_NS_FD",
}


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
_SNOOPING = {field.name: f"IFLA_BR_MCAST_{field.name.upper()}" for field in fields(Snooping)}


def get(key: str | int) -> bytes:
    """Encode the question for one link, by name or index."""
    if isinstance(key, str):
        return ifinfmsg.encode(GET, {}, [*_NO_STATISTICS, ("IFLA_IFNAME", key)])
    return ifinfmsg.encode(GET, {"index": key}, _NO_STATISTICS)


def get_peer(link: Message) -> bytes | None:
    """Encode the question for the other end of a veth pair; None for an interface that has none.

    That end may lie in a namespace that is closed: the kernel answers for another namespace who may
    administer it (Linux 4.20), NET_ADMIN in the namespace's owner or above is enough.
    """
    if "IFLA_LINK" not in link:
        return None
    attrs = [*_NO_STATISTICS]
    if "IFLA_LINK_NETNSID" in link:
        attrs.append(("IFLA_IF_NETNSID", link["IFLA_LINK_NETNSID"]))
    return ifinfmsg.encode(GET, {"index": link["IFLA_LINK"]}, attrs)


def set_alias(name: str, text: str) -> bytes:
    """Encode a change of the text that people see beside an interface: at most 254 bytes."""
    return ifinfmsg.encode(NEW, {}, [("IFLA_IFNAME", name), ("IFLA_IFALIAS", text)])


def create(link: Link) -> bytes:
    """Encode the making of a link, without what the kernel accepts only afterwards (see `needs_finish`)."""
    info: Attributes = [("IFLA_INFO_KIND", link.kind)]
    if link.vxlan:
        info.append(("IFLA_INFO_DATA", {"attrs": _vxlan(link.vxlan, creating=True)}))
    if link.peer:
        info.append(("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", {"attrs": _differing(link.peer)})]}))
    attrs = [*_differing(link), ("IFLA_LINKINFO", {"attrs": info})]
    if link.link:
        attrs.append(("IFLA_LINK", link.link))
    return ifinfmsg.encode(NEW, _up(link.up and not needs_finish(link)), attrs, FLAGS[Create])


def needs_finish(link: Link) -> bool:
    """Whether a link has settings that the kernel accepts only once the device exists."""
    return link.addrgenmode is not None or link.hairpin is not None


def change(link: Link, now: Link) -> list[bytes]:
    """Encode what makes the existing link `now` like `link`, in order; what is equal already is not sent."""
    messages, index = [], {"index": now.index}
    if link.vxlan and now.vxlan and link.vxlan != now.vxlan:
        data = _vxlan(link.vxlan, creating=link.vxlan.port != now.vxlan.port)
        messages.append(_set_info(now.index, "INFO", "vxlan", data))
    if attrs := _differing(link, now):
        messages.append(ifinfmsg.encode(SET, index, attrs))
    if link.addrgenmode is not None and now.addrgenmode not in (None, link.addrgenmode):  # None: no IPv6 here
        mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", link.addrgenmode)]}
        messages.append(ifinfmsg.encode(SET, index, [("IFLA_AF_SPEC", {"attrs": [("AF_INET6", mode)]})]))
    if link.hairpin is not None and link.hairpin != now.hairpin:
        messages.append(set_port(now.index, {"IFLA_BRPORT_MODE": int(link.hairpin)}))
    if link.up != now.up and link.netns_fd is None:
        messages.append(ifinfmsg.encode(SET, index | _up(link.up)))
    return messages


def delete(index: int) -> bytes:
    """Encode the removal of a link."""
    return ifinfmsg.encode(DEL, {"index": index})


def set_snooping(bridge: int, wanted: Snooping) -> list[bytes]:
    """Encode a change of a bridge's settings, in order.

    A bridge floods every group until its querier waited for a whole response interval, and asks by the
    intervals that it has when it becomes the querier: those must be set before.
    """
    changes = [replace(wanted, querier=0), wanted] if wanted.querier else [wanted]
    settings = [[(name, getattr(each, field)) for field, name in _SNOOPING.items()] for each in changes]
    return [_set_info(bridge, "INFO", "bridge", data) for data in settings]


def read_snooping(link: Message) -> Snooping | None:
    """Read a bridge's settings; None for what is no bridge or knows no snooping."""
    data = read_port(link, "INFO")
    if not data.keys() >= set(_SNOOPING.values()):
        return None
    return Snooping(**{field: data[name] for field, name in _SNOOPING.items()})


def set_port(port: int, settings: Mapping[str, int]) -> bytes:
    """Encode a change of a bridge port's settings, named as their attributes."""
    return _set_info(port, "INFO_SLAVE", "bridge", [*settings.items()])


def read_port(link: Message, part: str = "INFO_SLAVE") -> Message:
    """Read a port's settings, those that the kernel has; none for what is no port of a bridge."""
    info = link.get("IFLA_LINKINFO", {})
    data: Message = info.get(f"IFLA_{part}_DATA", {}) if info.get(f"IFLA_{part}_KIND") == "bridge" else {}
    return data


def _set_info(index: int, part: str, kind: str, data: Attributes) -> bytes:
    info: Attributes = [(f"IFLA_{part}_KIND", kind), (f"IFLA_{part}_DATA", {"attrs": data})]
    return ifinfmsg.encode(NEW, {"index": index}, [("IFLA_LINKINFO", {"attrs": info})])


def _differing(link: Link, now: Link = NO_LINK) -> Attributes:
    """Return the attributes of a link that are to be written."""
    after = link.over(now)
    pairs = [(name, getattr(after, field), getattr(now, field)) for field, name in _ATTRIBUTES.items()]
    return [(name, wanted) for name, wanted, held in pairs if wanted != held]


def _vxlan(vxlan: Vxlan, *, creating: bool) -> Attributes:
    left_out = [] if vxlan.device else ["device"]
    if not creating:  # the kernel refuses a port on an existing device even when it is the same
        left_out.append("port")
    attrs: Attributes = [
        (attribute, int(getattr(vxlan, name)))
        for name, attribute in VXLAN_ATTRIBUTES.items()
        if name not in left_out
    ]
    if vxlan.local:
        attrs.append(("IFLA_VXLAN_LOCAL6" if ":" in vxlan.local else "IFLA_VXLAN_LOCAL", vxlan.local))
    return attrs


def _up(up: bool) -> dict[str, Any]:
    return {"flags": c.IFF_UP if up else 0, "change": c.IFF_UP}
