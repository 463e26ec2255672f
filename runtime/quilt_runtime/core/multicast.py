"""What multicast needs of the node's packet filter; empty while it is off."""

from __future__ import annotations

from quilt_crds.names import MULTICAST_PORT

# UDP, between agents: who has members of which group. Never a pod's business.
# Routed into the mesh and out of it, a packet loses two.
_TTL = 3


def chain(bridge: str) -> list[str]:
    """Return the chain that makes the mesh one link to multicast, as a sender's default TTL of 1 expects.

    Packets of link-local groups stay as they are: they never leave their node. Answers between agents are
    dropped where they come from a pod, whatever address it claims to have.
    """
    return [
        "  chain multicast {",
        "    type filter hook prerouting priority mangle; policy accept;",
        f'    iifname "{bridge}" udp dport {MULTICAST_PORT} drop',
        f'    iifname "{bridge}" ip daddr 224.0.0.0/4 ip daddr != 224.0.0.0/24 ip ttl < {_TTL} '
        f"ip ttl set {_TTL}",
        "  }",
    ]
