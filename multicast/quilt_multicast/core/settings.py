"""The multicast settings of a mesh: a typed reading of the QuiltNetwork's spec.multicast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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


def read_multicast(spec: Mapping[str, Any]) -> MulticastSettings:
    """Read spec.multicast; absent fields take their defaults. ValueError names what cannot be used."""
    section = spec.get("multicast") or {}
    default = Limits()
    return MulticastSettings(
        enabled=section.get("enabled") is True,
        fast_leave=section.get("fastLeave") is not False,
        limits=Limits(
            groups_per_pod=_count(section, "maxGroupsPerPod", default.groups_per_pod),
            groups_per_node=_count(section, "maxGroupsPerNode", default.groups_per_node),
        ),
        namespaces=frozenset(section.get("namespaces") or ()),
    )


def _count(section: Mapping[str, Any], name: str, default: int) -> int:
    value = section.get(name, default)
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"multicast.{name} of the QuiltNetwork is {value!r}, must be a number from 1")
    return value
