"""The multicast settings of a mesh: a typed reading of the QuiltNetwork's spec.multicast."""

from __future__ import annotations

from dataclasses import dataclass

from quilt_crds.names import wire_name
from quilt_crds.wire import MulticastSpec


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one pod, and one node, may ask for. A flow is a (source, group) that packets came for.

    `shut_out` is how many of those that may not be forwarded are remembered, so that the kernel asks once.
    """

    groups_per_pod: int = 64
    groups_per_node: int = 1024
    flows_per_pod: int = 256
    flows_per_node: int = 8192
    shut_out: int = 1024


@dataclass(frozen=True, slots=True)
class MulticastSettings:
    """`fast_leave` stops a group at a pod's leave without asking the pod's bridge port again.

    `namespaces` are those whose pods take part; empty: all.
    """

    enabled: bool = False
    fast_leave: bool = True
    limits: Limits = Limits()
    namespaces: frozenset[str] = frozenset()


MULTICAST_OFF = MulticastSettings()


def read_multicast(spec: MulticastSpec) -> MulticastSettings:
    """Read spec.multicast of a QuiltNetwork. ValueError names what cannot be used."""
    for name in ("max_groups_per_pod", "max_groups_per_node"):
        if (value := getattr(spec, name)) < 1:
            raise ValueError(
                f"multicast.{wire_name(name)} of the QuiltNetwork is {value!r}, must be a number from 1"
            )
    return MulticastSettings(
        enabled=spec.enabled,
        fast_leave=spec.fast_leave,
        limits=Limits(
            groups_per_pod=spec.max_groups_per_pod,
            groups_per_node=spec.max_groups_per_node,
        ),
        namespaces=frozenset(spec.namespaces),
    )
