"""How much one pod, and one node, may ask of multicast."""

from __future__ import annotations

from dataclasses import dataclass

from quilt_crds.wire_network import MulticastSpec

_DEFAULTS = MulticastSpec()


@dataclass(frozen=True, slots=True)
class Limits:
    """A flow is a (source, group) that packets came for.

    `shut_out` is how many of those that may not be forwarded are remembered, so that the kernel asks once.
    """

    groups_per_pod: int = _DEFAULTS.max_groups_per_pod
    groups_per_node: int = _DEFAULTS.max_groups_per_node
    flows_per_pod: int = 256
    flows_per_node: int = 8192
    shut_out: int = 1024


def limits_of(settings: MulticastSpec) -> Limits:
    """Return the limits that a QuiltNetwork sets."""
    return Limits(settings.max_groups_per_pod, settings.max_groups_per_node)
