"""What the C library may keep: a list of thousands leaves holes behind that nobody needs again."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # mallopt(3)


def hold_little() -> None:
    """Let whatever is large go back to the system as soon as it is freed."""
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 128 << 10)


def give_back() -> None:
    """Return to the system what is free now."""
    ctypes.CDLL(None).malloc_trim(0)
