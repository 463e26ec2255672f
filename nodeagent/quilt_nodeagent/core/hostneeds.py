"""What a host has, and must grant the mesh beyond its own device: room for neighbours, right checksums."""

from __future__ import annotations

import re

# Entries that a host has anyway: its pods, its own link, its routers.
_ROOM = 1024
# Since 5.0 the kernel does not count permanent neighbours, and all of the overlay's are permanent.
_PERMANENT_FREE = (5, 0)
# Before 5.7 the kernel, rewriting an encapsulated packet's port, filled in a UDP checksum that was 0 for
# "none"; with the checksum left to the device the result is wrong and the peer drops it: 63 s stalls.
CHECKSUM_RIGHT = (5, 7)


def kernel_version(release: str) -> tuple[int, int]:
    """Read `6.1.0-12-amd64` as (6, 1); (0, 0) where it says nothing."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def neighbours_needed(peers: int, direct: int, kernel: tuple[int, int]) -> int:
    """How many neighbours a host's table must be able to hold with so many peers, `direct` on its link."""
    return _ROOM + direct + (0 if kernel >= _PERMANENT_FREE else peers)


def thresholds(needed: int, held: tuple[int, int, int]) -> tuple[int, int, int] | None:
    """Return the three garbage collection thresholds to set, in the kernel's proportions; None: they do."""
    if held[2] >= needed:
        return None
    largest = 1 << (needed - 1).bit_length()
    return max(held[0], largest // 8), max(held[1], largest // 2), largest
