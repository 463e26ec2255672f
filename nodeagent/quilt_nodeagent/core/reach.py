"""Which peers and subnets this node's overlay can carry at all."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reach:
    """A VXLAN device reaches hosts of its own IP family, `host_v6` (None: not known yet).

    `carries_v6` tells whether its MTU is enough for IPv6 subnets.
    """

    host_v6: bool | None = None
    carries_v6: bool = True

    def host(self, address: str) -> bool:
        """Whether a host of this address is reached."""
        return self.host_v6 in (None, ":" in address)

    def subnet(self, cidr: str) -> bool:
        """Whether packets to this subnet can be carried."""
        return self.carries_v6 or ":" not in cidr
