"""What should be, what is, and what lies between: one tracker for every table that a program keeps true."""

from quilt_delta.tracked import Delta, Tracked

__all__ = ["Delta", "Tracked"]
