"""Checks of what callers ask for; the texts are contract, people and programs read them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from quilt_netlink.messages import number4, pack_ips
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.ipam import capacity

LONGEST_CIDR = 43  # an IPv6 address with an embedded IPv4 one, and /128
LONGEST_INTERFACE = 15  # IFNAMSIZ - 1

Network = IPv4Network | IPv6Network

_LENGTH = {str(number): number for number in range(1, 33)}
"""Canonical decimal spellings: a look-up both checks and reads. Thousands of routes arrive at once."""


def parse_network(what: str, text: str) -> Network:
    """Return the network that `text` spells; `what` names the field in the error.

    Raises RequestError for anything that is not a CIDR of either family without host bits.
    """
    if not text:
        raise RequestError(f"{what} must not be empty")
    if len(text) > LONGEST_CIDR:
        raise RequestError(f"{what} is {len(text)} characters long, a CIDR has at most {LONGEST_CIDR}")
    address, slash, length = text.partition("/")
    if not slash:
        raise RequestError(f"Invalid CIDR {text!r}: the prefix length is missing, as in 10.42.1.0/24")
    if not (length.isascii() and length.isdigit()):
        raise RequestError(f"Invalid CIDR {text!r}: the prefix length must be a number")
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise RequestError(f"Invalid CIDR {text!r}: {error}") from error
    if ipaddress.ip_address(address) != network.network_address:
        raise RequestError(f"{what} {text} has host bits set; the network is {network}")
    return network


def parse_network4(what: str, text: str) -> IPv4Network:
    """As parse_network, for IPv4 alone."""
    network = parse_network(what, text)
    if isinstance(network, IPv6Network):
        raise RequestError(f"{what} must be IPv4, got IPv6 {network}")
    return network


def node_subnet(text: str, cluster_cidrs: Sequence[IPv4Network], prefix_length: int) -> IPv4Network:
    """Return the node subnet that `text` spells, which must be one of the cluster's CIDRs' parts.

    Raises RequestError; also for one that has no address left beside its network, gateway and broadcast ones.
    """
    subnet = parse_network4("Subnet", text)
    if subnet.prefixlen != prefix_length:
        raise RequestError(f"Subnet must be /{prefix_length}, got /{subnet.prefixlen}")
    if not any(subnet.subnet_of(cidr) for cidr in cluster_cidrs):
        noun = "CIDR" if len(cluster_cidrs) == 1 else "CIDRs"
        allowed = ", ".join(map(str, cluster_cidrs))
        raise RequestError(f"Subnet {subnet} must be within cluster {noun} {allowed}")
    if not capacity(subnet):
        raise RequestError(f"Subnet {subnet} has no room for a pod: a /30 is the smallest that has")
    return subnet


def node_subnet6(text: str, cluster_cidrs: Sequence[IPv6Network]) -> IPv6Network:
    """Return the node's IPv6 subnet that `text` spells, which must be part of one of the cluster's CIDRs."""
    subnet = parse_network("IPv6 subnet", text)
    if not isinstance(subnet, IPv6Network):
        raise RequestError(f"IPv6 subnet must be IPv6, got {subnet}")
    if not any(subnet.subnet_of(cidr) for cidr in cluster_cidrs):
        allowed = ", ".join(map(str, cluster_cidrs)) or "none is configured"
        raise RequestError(f"IPv6 subnet {subnet} must be within the cluster's IPv6 CIDRs: {allowed}")
    return subnet


def canonical4(text: str) -> str:
    """Return `text` where it is a canonical IPv4 CIDR of a pod network, else "": then the slow way says why.

    The ipaddress module would take 15 us for each.
    """
    address, _, size = text.partition("/")
    packed, length = number4(address), _LENGTH.get(size, 0)
    if packed < 0 or not length or packed & (0xFFFFFFFF >> length):
        return ""
    first = packed >> 24
    return text if 0 < first < 224 and first != 127 and packed >> 16 != 0xA9FE else ""


def all_canonical4(addresses: Sequence[str]) -> bool:
    """Whether all are canonically spelled IPv4 addresses."""
    try:
        return not addresses or len(pack_ips(addresses)[0]) == 4
    except (OSError, ValueError):
        return False


def route_destination(network: Network) -> Network:
    """Return the destination, or raise RequestError where no pod network can have a route to it."""
    if network.prefixlen == 0:
        raise RequestError(f"Destination {network} is the default route, which is not the mesh's to change")
    if network.is_loopback or network.is_multicast or network.is_link_local:
        raise RequestError(f"Destination {network} is not a unicast network beyond this host")
    return network


def contract_destination(text: str) -> str:
    """Return the destination of InjectRoute and RemoveRoute, as it is spelled canonically."""
    return canonical4(text) or str(route_destination(parse_network4("Destination", text)))


def gateway(text: str, family: int) -> str:
    """Return the canonical gateway address of the destination's family (4 or 6); empty stays empty."""
    if not text:
        return ""
    if family == 4 and number4(text) >= 0:
        return text
    if len(text) > LONGEST_CIDR:
        raise RequestError(f"Gateway is {len(text)} characters long, an address has at most 39")
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise RequestError(f"Invalid gateway {text!r}: {error}") from error
    if address.version != family:
        raise RequestError(f"Gateway {address} must be IPv{family} like its destination")
    return str(address)


@lru_cache(maxsize=64)
def interface_name(text: str) -> str:
    """Return the name, or raise RequestError where no interface can be called so."""
    if not text:
        raise RequestError("Interface must not be empty")
    if len(text.encode(errors="replace")) > LONGEST_INTERFACE:
        raise RequestError(f"Interface name is too long, at most {LONGEST_INTERFACE} characters are possible")
    if text in {".", ".."} or any(c in "/:" or c.isspace() or not c.isprintable() for c in text):
        raise RequestError(f"Invalid interface name {text!r}")
    return text
