"""Interfaces, written message by message.

The kernel applies some attributes only to an existing device (IPv6 address generation, hairpin), and
generates the link-local address when the device is set up, so making a link is a short sequence of
messages.
"""

from __future__ import annotations

from typing import Any

from quilt_netlink import constants as c
from quilt_netlink.messages import Message, encode
from quilt_netlink.schema import VXLAN_ATTRIBUTES, ifinfmsg
from quilt_netlink.shapes import Attributes
from quilt_netlink.state import Link, Vxlan

_GET = c.NLM_F_REQUEST
_NEW = c.NLM_F_REQUEST | c.NLM_F_CREATE | c.NLM_F_EXCL


def get(key: str | int) -> bytes:
    """Encode the question for one link, by name or index."""
    attrs: Attributes = [("IFLA_EXT_MASK", c.RTEXT_FILTER_SKIP_STATS)]
    if isinstance(key, str):
        return encode(ifinfmsg, c.RTM_GETLINK, _GET, {}, [*attrs, ("IFLA_IFNAME", key)])
    return encode(ifinfmsg, c.RTM_GETLINK, _GET, {"index": key}, attrs)


def get_peer(link: Message) -> bytes | None:
    """Encode the question for the other end of a veth pair; None for an interface that has none.

    That end may lie in a namespace that is closed: the kernel answers for another namespace who may
    administer it (Linux 4.20), NET_ADMIN in the namespace's owner or above is enough.
    """
    if "IFLA_LINK" not in link:
        return None
    attrs: Attributes = [("IFLA_EXT_MASK", c.RTEXT_FILTER_SKIP_STATS)]
    if "IFLA_LINK_NETNSID" in link:
        attrs.append(("IFLA_IF_NETNSID", link["IFLA_LINK_NETNSID"]))
    return encode(ifinfmsg, c.RTM_GETLINK, _GET, {"index": link["IFLA_LINK"]}, attrs)


def set_alias(name: str, text: str) -> bytes:
    """Encode a change of the text that people see beside an interface: at most 254 bytes."""
    return encode(ifinfmsg, c.RTM_NEWLINK, _GET, {}, [("IFLA_IFNAME", name), ("IFLA_IFALIAS", text)])


def create(link: Link) -> bytes:
    """Encode the making of a link, without what the kernel accepts only afterwards (see `finish`)."""
    attrs: Attributes = [("IFLA_IFNAME", link.name), *_common(link)]
    if link.link:
        attrs.append(("IFLA_LINK", link.link))
    info: Attributes = [("IFLA_INFO_KIND", link.kind)]
    if link.vxlan:
        info.append(("IFLA_INFO_DATA", {"attrs": _vxlan(link.vxlan, creating=True)}))
    if link.peer:
        info.append(("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", _peer(link.peer))]}))
    attrs.append(("IFLA_LINKINFO", {"attrs": info}))
    up = link.up and not needs_finish(link)
    return encode(ifinfmsg, c.RTM_NEWLINK, _NEW, _up(up), attrs)


def needs_finish(link: Link) -> bool:
    """Whether a link has settings that the kernel accepts only once the device exists."""
    return link.addrgenmode is not None or link.hairpin is not None


def change(index: int, link: Link, now: Link) -> list[bytes]:
    """Encode what makes the existing link `now` like `link`, in order; what is equal already is not sent."""
    messages = []
    attrs = _common(link, now)
    if link.name and link.name != now.name:
        attrs.append(("IFLA_IFNAME", link.name))
    if link.vxlan and now.vxlan and link.vxlan != now.vxlan:
        data = {"attrs": _vxlan(link.vxlan, creating=link.vxlan.port != now.vxlan.port)}
        info: Attributes = [("IFLA_INFO_KIND", "vxlan"), ("IFLA_INFO_DATA", data)]
        messages.append(_set(index, [("IFLA_LINKINFO", {"attrs": info})], c.RTM_NEWLINK))
    if attrs:
        messages.append(_set(index, attrs))
    if link.addrgenmode is not None and now.addrgenmode not in (None, link.addrgenmode):  # None: no IPv6 here
        mode = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", link.addrgenmode)]}
        messages.append(_set(index, [("IFLA_AF_SPEC", {"attrs": [("AF_INET6", mode)]})]))
    if link.hairpin is not None and link.hairpin != now.hairpin:
        messages.append(_hairpin(index, link.hairpin))
    if link.up != now.up and link.netns_fd is None:
        fields = {"index": index, **_up(link.up)}
        messages.append(encode(ifinfmsg, c.RTM_SETLINK, c.NLM_F_REQUEST, fields, []))
    return messages


def delete(index: int) -> bytes:
    """Encode the removal of a link."""
    return encode(ifinfmsg, c.RTM_DELLINK, c.NLM_F_REQUEST, {"index": index}, [])


def _common(link: Link, now: Link | None = None) -> Attributes:
    attrs: Attributes = []
    if link.mac and not (now and now.mac == link.mac):
        attrs.append(("IFLA_ADDRESS", link.mac))
    if link.mtu and not (now and now.mtu == link.mtu):
        attrs.append(("IFLA_MTU", link.mtu))
    master = max(link.master, 0)
    if link.master and master != (now.master if now else 0):
        attrs.append(("IFLA_MASTER", master))
    if link.netns_fd is not None:
        attrs.append(("IFLA_NET_NS_FD", link.netns_fd))
    return attrs


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


def _peer(peer: Link) -> dict[str, Any]:
    attrs: Attributes = [("IFLA_IFNAME", peer.name)] if peer.name else []
    return {"attrs": attrs + _common(peer)}


def _hairpin(index: int, on: bool) -> bytes:
    port: dict[str, Any] = {"attrs": [("IFLA_BRPORT_MODE", int(on))]}
    info: Attributes = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", port)]
    return _set(index, [("IFLA_LINKINFO", {"attrs": info})], c.RTM_NEWLINK)


def _set(index: int, attrs: Attributes, message_type: int = c.RTM_SETLINK) -> bytes:
    return encode(ifinfmsg, message_type, c.NLM_F_REQUEST, {"index": index}, attrs)


def _up(up: bool) -> dict[str, int]:
    return {"flags": c.IFF_UP, "change": c.IFF_UP} if up else {"flags": 0, "change": c.IFF_UP}
