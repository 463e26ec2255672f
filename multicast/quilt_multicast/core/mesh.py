"""What multicast has to know of the mesh: the caller's table of claims has this shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


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


class Mesh(Protocol):
    """All claims, as the node `own_node` sees them; `complete` is False until all were read once."""

    own_node: str
    device: str
    complete: bool

    def claims(self) -> Sequence[Peer]:
        """Return every claim, own ones included."""

    def holder(self, address: str) -> Peer | None:
        """Return the claim whose subnet holds an address: the node's own, or one that is routed to."""
