"""The ratio of two figures that were taken in turns, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from statistics import median

import msgspec

CONFIDENCE = 0.95


class Ratio(msgspec.Struct, frozen=True):
    """The median of the ratios of all turns, and the interval that holds the true median."""

    middle: float
    low: float
    high: float


def ratio(own: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Compare turn by turn: what disturbs the machine for longer than a turn disturbs both."""
    ratios = [mine / its for mine, its in zip(own, theirs, strict=True)]
    return Ratio(median(ratios), *interval(ratios))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return where the median lies of what the values were drawn from, with a probability of 95 %.

    It is the interval of the sign test: each value is below the median or above it as a coin falls, so that
    the k-th lowest and the k-th highest enclose it unless fewer than k coins fell on one side. Nothing is
    assumed of how values are distributed. Fewer than six offer less than 95 %: their lowest and highest.
    """
    ordered, count = sorted(values), len(values)
    enough = [at for at in range(count // 2) if _outside(at, count) <= 1 - CONFIDENCE]
    narrowest = max(enough, default=0)
    return ordered[narrowest], ordered[-1 - narrowest]


def _outside(rank: int, count: int) -> float:
    """Probability that of so many coins at most `rank` fell on one side."""
    return 2 * sum(comb(count, fallen) for fallen in range(rank + 1)) / (1 << count)
