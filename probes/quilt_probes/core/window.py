"""Which of the last numbers of a sender arrived, in whatever order."""

from __future__ import annotations

from dataclasses import dataclass

WIDTH = 64
"""Numbers that are remembered, as bits: bit k is `last - k`."""
SPAN = 30
"""Numbers over which loss is counted: a minute of probes."""
_MASK = (1 << WIDTH) - 1


@dataclass(slots=True)
class Window:
    """What arrived of one sender's run; `first` is the first number that came, before it nobody listened."""

    run: int = 0
    first: int = 0
    last: int = 0
    bits: int = 0

    def accept(self, run: int, number: int) -> bool:
        """Take in a number; return whether it is the highest yet, and so what came with it the newest."""
        if run != self.run:
            self.run, self.first, self.last, self.bits = run, number, number, 1
            return True
        ahead = number - self.last
        if ahead > 0:
            self.bits = ((self.bits << ahead) | 1) & _MASK if ahead < WIDTH else 1
            self.last = number
            return True
        if -ahead < WIDTH:
            self.bits |= 1 << -ahead
        return False

    @property
    def loss(self) -> float:
        """Share of the last numbers that did not arrive, 0 to 1."""
        return loss(self.bits, self.last - self.first + 1)


def loss(bits: int, numbers: int, missing: int = 0) -> float:
    """Return the share that is lost of at most SPAN `numbers`, `bits` from the last one on.

    `missing` are further ones, later than these, of which none arrived.
    """
    missing = min(missing, SPAN)
    span = max(min(numbers, SPAN - missing), 0)
    lost = missing + span - (bits & ((1 << span) - 1)).bit_count()
    return lost / (span + missing) if span + missing else 0.0
