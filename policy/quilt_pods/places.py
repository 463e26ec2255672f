"""Where nodes are, as their claims say it: what the compiler needs for addresses of nodes and of IPv6."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple, Protocol

from quilt_policy.places import Place


class Claim(Protocol):
    """One claim, as it is published."""

    @property
    def cidr(self) -> str:
        """The subnet, as `10.42.1.0/24`."""

    @property
    def node(self) -> str:
        """Name of the node that it belongs to."""

    @property
    def host_ip(self) -> str:
        """The node's underlay address, empty while it is not confirmed."""


class _Facts(NamedTuple):
    host: str
    subnet: str
    subnet6: str

    def place(self) -> Place:
        return Place(
            ip_address(self.host) if self.host else None,
            IPv4Network(self.subnet),
            IPv6Network(self.subnet6) if self.subnet6 else None,
        )


class NodePlaces:
    """Passes on which places are new, different or gone, by IPv4 subnet."""

    def __init__(self, put: Callable[[str, Place], None], drop: Callable[[str], None]) -> None:
        self._put = put
        self._drop = drop
        self._held: dict[str, _Facts] = {}

    def follow(self, claims: Iterable[Claim]) -> None:
        """Take in all claims of now."""
        v4: dict[str, list[Claim]] = defaultdict(list)
        v6: dict[str, list[str]] = defaultdict(list)
        for claim in claims:
            if ":" in claim.cidr:
                v6[claim.node].append(claim.cidr)
            else:
                v4[claim.node].append(claim)
        now = {
            claim.cidr: _Facts(claim.host_ip, claim.cidr, v6[node][0] if node in v6 else "")
            for node, owned in v4.items()
            for claim in owned
        }
        # Thousands of claims come together, and almost all are as before.
        for cidr in self._held.keys() - now.keys():
            self._drop(cidr)
        for cidr, facts in now.items():
            if self._held.get(cidr) != facts:
                self._put(cidr, facts.place())
        self._held = now
