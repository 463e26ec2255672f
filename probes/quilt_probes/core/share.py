"""Which peers a node watches: all in a small mesh, else a random share that both ends agree upon.

Both ends must probe at the same time, or the failing direction could not be known. So who watches whom is
computed from both names and the time alone: nothing is agreed upon over the network, and clocks that differ
by a few seconds make no difference but for these seconds.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

SHARE = 64
"""Peers that a node watches at a time; of more, so many on average."""
EPOCH = 120
"""Seconds after which another share is watched."""


def watched(own: str, nodes: Collection[str], epoch: int, drawn: dict[str, int] | None = None) -> set[str]:
    """Return which of `nodes`, without the node itself, it watches in an epoch (wall clock by EPOCH).

    `drawn` is kept by the caller for as long as the epoch lasts, so that what is drawn of a node is drawn
    once: of thousands that needs milliseconds, in which an agent does nothing else.
    """
    if len(nodes) <= SHARE:
        return set(nodes)
    drawn = {} if drawn is None else drawn
    drawn.update((node, _draw(own, node, epoch)) for node in nodes if node not in drawn)
    limit = (SHARE << 32) // len(nodes)
    return {node for node in nodes if drawn[node] < limit}


def _draw(one: str, other: str, epoch: int) -> int:
    """Return a number of 32 bits, the same from both ends."""
    first, second = sorted((one, other))
    return int.from_bytes(blake2b(f"{epoch}/{first}/{second}".encode(), digest_size=4).digest(), "big")
