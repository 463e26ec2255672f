"""One error type for everything that a caller can do wrong."""

from __future__ import annotations


class ControlError(Exception):
    """A request that cannot be done; the text says what, about which object, and what to do."""
