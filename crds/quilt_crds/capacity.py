"""How many pods find an address in a node's subnet, and which nodes may run more: kubelets do not know it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

DEFAULT_PREFIX_LENGTH: Final = 24
_BITS: Final = 32
_NAMED_AT_MOST = 3


def pod_addresses(prefix_length: int) -> int:
    """Addresses for pods in an IPv4 subnet: all but network, gateway and broadcast address."""
    return max(0, (1 << (_BITS - prefix_length)) - 3)


def crowding(nodes: Iterable[tuple[str, int, int]]) -> str:
    """Which nodes may run more pods than their subnets have addresses for; empty when none.

    `nodes` are names, most pods (0: not known) and prefix lengths.
    """
    over = sorted((length, name, pods) for name, pods, length in nodes if pods > pod_addresses(length))
    if not over:
        return ""
    length = over[-1][0]
    room = f"a node's subnet has {pod_addresses(length)} addresses for pods (/{length})"
    return (
        f"{room}, and kubelets allow more: "
        f"{_some([f'{pods} on {name}' for _, name, pods in over])}; pods beyond that do not start. "
        f"Set maxPods of these kubelets to at most {pod_addresses(length)}; a shorter "
        "network.nodePrefixLength can only be chosen before an install"
    )


def _some(items: Sequence[str]) -> str:
    rest = len(items) - _NAMED_AT_MOST
    return ", ".join(items[:_NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
