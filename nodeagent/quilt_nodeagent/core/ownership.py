"""Which entries of a kernel are the mesh's to change: everything else is foreign and survives whatever we do.

Kept apart from the diff so that the question "is this the mesh's?" has one place and one answer. Ours are
unicast entries on our own VXLAN device and routes under the mesh's protocol number, so that an agent without
memory recognises what a predecessor left.
"""

from __future__ import annotations

from quilt_crds.names import MESH_PROTOCOL

# The metric of the routes that refuse: any other route of the same prefix precedes it, of whatever owner.
LOWEST_PREFERENCE = 0xFFFFFFFF

_NO_MAC = "00:00:00:00:00:00"


def owns_mac(mac: str) -> bool:
    """Whether an entry for `mac` on our device is the mesh's; group and default entries only flood."""
    return mac != _NO_MAC and not int(mac[:2], 16) & 1


def owns_route(protocol: int) -> bool:
    """Whether a route of the main table under this protocol number is the mesh's."""
    return protocol == MESH_PROTOCOL
