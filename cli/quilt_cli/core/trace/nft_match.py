"""Whether an expression of nftables matches a packet, as far as that is known: `nft -j` has them as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from quilt_cli.core.trace.kernel import Kernel, Plain
from quilt_cli.core.trace.packet import Packet, both, named, negated

UNKNOWN = object()
_PROTOCOLS = {"tcp": "6", "udp": "17", "icmp": "1", "ipv6-icmp": "58", "icmpv6": "58"}
# Where the VNI is: 12 bytes into the UDP datagram (RFC 7348).
_OVERLAY_VNI = {"base": "th", "offset": 96, "len": 24}


@dataclass(frozen=True, slots=True)
class Look:
    """One packet in one table, which is a family and a name."""

    kernel: Kernel
    packet: Packet
    table: tuple[str, str]


def matches(look: Look, match: Plain) -> bool | None:
    """Whether a match statement holds; None where that is not known."""
    left, right, op = match["left"], match["right"], match.get("op", "==")
    value = value_of(look.packet, left)
    if value is UNKNOWN or op not in ("==", "!=", "in"):
        return None
    if value is None:
        return False
    return negated(equals(look, value, right), op == "!=")


def value_of(packet: Packet, left: Any) -> Any:
    """What the packet has where a rule looks; UNKNOWN, or None for what it has not."""
    if not isinstance(left, Mapping) or not left:
        return UNKNOWN
    kind, what = next(iter(left.items()))
    if kind == "concat":
        parts = [value_of(packet, part) for part in what]
        return UNKNOWN if UNKNOWN in parts else parts
    if kind == "meta":
        return _meta(packet, str(what.get("key")))
    if kind == "payload":
        return _payload(packet, what)
    if kind == "ct" and what.get("key") == "state":
        return packet.state
    if kind == "ct" and what.get("key") == "status":
        return ""  # Nothing of the connection was translated yet.
    return UNKNOWN


def _meta(packet: Packet, key: str) -> Any:
    version = packet.source.version
    known = {
        "iifname": packet.iif,
        "oifname": packet.oif,
        "iif": packet.iif,
        "oif": packet.oif,
        "l4proto": packet.protocol,
        "nfproto": "ipv6" if version == 6 else "ipv4",
        "protocol": "ip6" if version == 6 else "ip",
        "pkttype": "host",
    }
    return known.get(key, UNKNOWN)


def _payload(packet: Packet, what: Plain) -> Any:
    protocol, name = what.get("protocol"), what.get("field")
    if {key: what.get(key) for key in _OVERLAY_VNI} == _OVERLAY_VNI:
        return packet.vni if packet.protocol == "udp" and packet.vni is not None else UNKNOWN
    if protocol in ("ip", "ip6"):
        if protocol != ("ip6" if packet.source.version == 6 else "ip"):
            return None  # No packet of the other family matches.
        own = {"saddr": packet.source, "daddr": packet.target}
        return packet.protocol if name in ("protocol", "nexthdr") else own.get(str(name), UNKNOWN)
    if name == "dport" and protocol in ("tcp", "udp", "th", "sctp"):
        return (packet.port or UNKNOWN) if protocol in ("th", packet.protocol) else None
    if protocol in ("tcp", "udp", "sctp", "icmp", "icmpv6", "igmp") and protocol != packet.protocol:
        return None
    return UNKNOWN


def equals(look: Look, value: Any, right: Any) -> bool | None:
    """Whether the packet's value is what a rule compares it with."""
    if value is None:
        return False
    if isinstance(right, Mapping):
        return _composed(look, value, *next(iter(right.items())))
    if isinstance(right, list):
        return _any(look, value, right)
    if isinstance(right, str) and right.startswith("@"):
        elements = look.kernel.elements(*look.table, right[1:])
        # A set without elements in the listing may have been left out of it, but not of the mesh's tables.
        if elements is None or (not elements and look.table[1] != "quilt"):
            return None
        return _any(look, value, elements)
    return _same(value, right)


def _composed(look: Look, value: Any, kind: str, what: Any) -> bool | None:
    """The same of what a rule composes: sets, prefixes, ranges."""
    match kind:
        case "set":
            return _any(look, value, what)
        case "prefix":
            return _in_prefix(value, what)
        case "range":
            return _in_range(value, what)
        case "concat" if isinstance(value, list):
            return _all(look, value, what)
        case "elem":
            return equals(look, value, what.get("val"))
        case _:
            return None


def _any(look: Look, value: Any, rights: Iterable[Any]) -> bool | None:
    found = [equals(look, value, right) for right in rights]
    return True if True in found else None if None in found else False


def _all(look: Look, values: list[Any], rights: list[Any]) -> bool | None:
    held: bool | None = True
    for value, right in zip(values, rights, strict=False):
        held = both(held, equals(look, value, right))
    return held


def _same(value: Any, right: Any) -> bool | None:
    text = str(right)
    if isinstance(value, str):
        alike = {value, _PROTOCOLS.get(value, value)}
        return text in alike or _PROTOCOLS.get(text, text) in alike or named(value, text, "*")
    if isinstance(value, int):
        return text == str(value) if text.isdecimal() else None
    try:
        return bool(value == ip_address(text))
    except ValueError:
        return None


def _in_prefix(value: Any, what: Plain) -> bool | None:
    network = ip_network(f"{what['addr']}/{what['len']}", strict=False)
    return isinstance(value, IPv4Address | IPv6Address) and bool(value in network)


def _in_range(value: Any, what: Any) -> bool | None:
    first, last = what
    if isinstance(value, int):
        return int(first) <= value <= int(last)
    if not isinstance(value, IPv4Address | IPv6Address):
        return None
    numbers = [int(ip_address(str(one))) for one in (first, last)]
    return numbers[0] <= int(value) <= numbers[1]
