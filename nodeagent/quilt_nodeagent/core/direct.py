"""Which peers are on the same link, so that their pods are reached without encapsulation.

A peer is when the host's own table says so: the longest matching route to its address has no gateway and
leaves by the interface that carries this node's underlay address. Only then does a frame sent straight to the
peer's MAC arrive; everybody else stays in the overlay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
Prefix = tuple[int, int, int]
"""IP version, prefix length and network address as a number."""


@dataclass(frozen=True, slots=True)
class Direct:
    """The link that peers may share with us: interface `device`, and what the host's table says of addresses.

    `here` holds the prefixes that are on this link; `elsewhere` more specific ones that are not.
    """

    device: str
    here: frozenset[str]
    elsewhere: frozenset[str] = frozenset()
    _found: dict[Prefix, bool] = field(init=False, repr=False, compare=False, default_factory=dict)
    _lengths: dict[int, tuple[int, ...]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for prefixes, is_here in ((self.elsewhere, False), (self.here, True)):
            for text in prefixes:
                network = ip_network(text)
                key = (network.version, network.prefixlen, int(network.network_address))
                self._found[key] = is_here
        for version in (4, 6):
            lengths = {length for family, length, _ in self._found if family == version}
            self._lengths[version] = tuple(sorted(lengths, reverse=True))

    def reaches(self, host_ip: str) -> bool:
        """Whether the address is on the link."""
        address = ip_address(host_ip)
        number, bits = int(address), address.max_prefixlen
        for length in self._lengths[address.version]:
            key = (address.version, length, number >> (bits - length) << (bits - length))
            if key in self._found:
                return self._found[key]
        return False


def on_link(routes: Iterable[tuple[str, bool]]) -> tuple[frozenset[str], frozenset[str]]:
    """Sort (prefix, whether it is on our link) into those here, and those elsewhere inside of them."""
    found = [(ip_network(prefix), is_here) for prefix, is_here in routes]
    here = {network for network, is_here in found if is_here and network.prefixlen}
    elsewhere = {network for network, is_here in found if not is_here} - here
    inside = {network for network in elsewhere if any(_inside(network, outer) for outer in here)}
    return frozenset(map(str, here)), frozenset(map(str, inside))


def _inside(network: Network, outer: Network) -> bool:
    return network.version == outer.version and network.subnet_of(outer)  # type: ignore[arg-type]
