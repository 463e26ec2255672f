"""The MAC address of a node's VXLAN device, derived rather than reported.

Nobody has to wait to learn a peer's MAC, a re-created device is the same peer, and no stolen credential can
publish somebody else's. Operator, agent and command line compute it with this one function.
"""

from __future__ import annotations

from hashlib import sha256


def vtep_mac(network: str, node: str) -> str:
    """Locally administered unicast MAC of `node` in `network`, lower-case with colons, for both families."""
    digest = bytearray(sha256(f"{network}/{node}".encode()).digest()[:6])
    # IEEE 802: bit 0 of the first byte is "group", bit 1 "locally administered".
    digest[0] = (digest[0] & 0xFC) | 0x02
    return digest.hex(":")
