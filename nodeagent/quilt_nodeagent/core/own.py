"""Which of this node's own subnets its pods have, and which one it is to move to.

A node has two claims of one family while it moves: the operator grants the new one and leaves the old one,
for pods have addresses of it. The runtime, which gives out the addresses, decides when: it takes another
subnet only when no address of the old one is in use.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from quilt_nodeagent.core.peer import Peer


@dataclass(frozen=True, slots=True)
class Own:
    """The claim that the runtime serves, or shall serve first, and one to move to; None without."""

    use: Peer | None = None
    move_to: Peer | None = None


def choose(claims: Sequence[Peer], served: Collection[str], listed: Sequence[str]) -> Own:
    """Choose among one family's own claims; those that are being released are no choice.

    `served` are the CIDRs that the runtime holds, `listed` those that the operator names, of which the last
    is the one to have. What is served stays in use; a runtime that serves none takes the wanted one at once.
    """
    held = {claim.cidr: claim for claim in claims}
    wanted = next((held[cidr] for cidr in reversed(listed) if cidr in held), None)
    use = next((claim for claim in claims if claim.cidr in served), None)
    if use is None:
        return Own(wanted or next(iter(claims), None))
    return Own(use, wanted if wanted is not use else None)
