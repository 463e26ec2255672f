"""Devices and their addresses, by the names that `ip -j -d -s link` and `bridge -j -d link` give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyroute2.netlink.rtnl import rt_scope
from pyroute2.netlink.rtnl.ifinfmsg import IFF_VALUES

from quilt_cli.kernel.netlink import kind_of
from quilt_cli.kernel.plain import Names, Plain, attributes, family, flags, present

_FLAGS = {bit: name.removeprefix("IFF_") for bit, name in IFF_VALUES.items()}
_AS_THEY_ARE = (
    "ifname",
    "mtu",
    "operstate",
    "qdisc",
    "txqlen",
    "address",
    "ifalias",
    "link_netnsid",
    "carrier_changes",
)
_PREFIXES = {"bridge": "IFLA_BR_"}
# Of what the kernel calls IFLA_BRPORT_….
_PORT_FLAGS = {
    "guard": "guard",
    "mode": "hairpin",
    "protect": "root_block",
    "fast_leave": "fastleave",
    "learning": "learning",
    "unicast_flood": "flood",
    "mcast_flood": "mcast_flood",
    "bcast_flood": "bcast_flood",
    "mcast_to_ucast": "mcast_to_unicast",
    "neigh_suppress": "neigh_suppress",
    "isolated": "isolated",
    "locked": "locked",
    "proxyarp": "proxy_arp",
}
_PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")
_COUNTERS = ("bytes", "packets", "errors", "dropped")


def link(message: Any, names: Names) -> Plain:
    """A device, with what its kind says of it, of its port in a bridge, and its counters."""
    below = message.get("link")
    return present(
        ifindex=message["index"],
        **{name: message.get(name) for name in _AS_THEY_ARE},
        flags=flags(message["flags"], _FLAGS),
        # Of a pod's interface it is an index of the pod's namespace.
        link=names.get(below, below) if message.get("link_netnsid") is None else below,
        master=names.get(message.get("master")),
        linkinfo=_linkinfo(message, names) or None,
        stats64=_statistics(message.get("stats64") or {}),
    )


def _linkinfo(message: Any, names: Names) -> Plain:
    kind, slave = kind_of(message), message.get(("linkinfo", "slave_kind"))
    data = attributes(message.get(("linkinfo", "data")), _PREFIXES.get(kind, f"IFLA_{kind.upper()}_"))
    if kind == "vxlan" and "link" in data:
        data["link"] = names.get(data["link"], data["link"])
    port = message.get(("linkinfo", "slave_data")) if slave == "bridge" else None
    return present(
        info_kind=kind or None,
        info_data=data or None,
        info_slave_kind=slave,
        info_slave_data=_port(attributes(port, "IFLA_BRPORT_")) if port else None,
    )


def _port(held: Mapping[str, Any]) -> Plain:
    """What a port of a bridge does."""
    known = {name: bool(held[field]) for field, name in _PORT_FLAGS.items() if field in held}
    return {"state": _PORT_STATES[held["state"]], **known}


def _statistics(counters: Mapping[str, int]) -> Plain:
    """Counters by direction; those of hardware's details only where they counted something."""
    by_way: Plain = {"rx": {}, "tx": {}}
    for field, value in counters.items():
        way, _, name = field.partition("_")
        if way in by_way and (value or name in _COUNTERS):
            by_way[way][name] = value
    return by_way


def address(message: Any, names: Names) -> Plain:
    """An address of a device: `local`; `address` is the other end's of a point-to-point link."""
    local, other = message.get("local"), message.get("address")
    return present(
        ifname=names.get(message["index"]),
        family=family(message),
        local=local or other,
        address=other if local and other != local else None,
        prefixlen=message["prefixlen"],
        scope=rt_scope.get(message["scope"], message["scope"]),
    )
