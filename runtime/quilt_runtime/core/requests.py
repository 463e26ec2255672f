"""Checks of what callers ask for; the texts are contract, people and programs read them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network

from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.ipam import Network, capacity

LONGEST_CIDR = 43  # an IPv6 address with an embedded IPv4 one, and /128


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


def cluster_cidrs(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the cluster's CIDRs as they are spelled canonically; raises RequestError."""
    return tuple(str(parse_network("Cluster CIDR", text)) for text in texts)


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
