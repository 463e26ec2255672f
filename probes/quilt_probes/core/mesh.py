"""What probes have to know of the mesh: the caller's table of claims has this shape."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Protocol

from quilt_crds.names import UP


class Peer(Protocol):
    """One claim, as it is published."""

    @property
    def cidr(self) -> str:
        """The subnet, as `10.42.1.0/24`."""

    @property
    def node(self) -> str:
        """Name of the node that it belongs to."""

    @property
    def phase(self) -> str:
        """`Up`, `Down` or `Releasing`."""

    @property
    def host_ip(self) -> str:
        """The node's underlay address, empty while it is not confirmed."""

    @property
    def vtep(self) -> str:
        """The node's address in the overlay: the subnet's network address."""


def addresses(claims: Iterable[Peer]) -> dict[str, list[str]]:
    """Return the VTEP addresses of nodes that are Up, by node; the one that it speaks from first.

    IPv4's alone, which every node has: both families cross the same underlay. A node that moves to another
    subnet has two for a while, and speaks from the lower one.
    """
    found: dict[str, list[str]] = {}
    for claim in claims:
        if claim.phase == UP and claim.host_ip and ":" not in claim.cidr:
            found.setdefault(claim.node, []).append(claim.vtep)
    for vteps in found.values():
        if len(vteps) > 1:
            vteps.sort(key=IPv4Address)
    return found
