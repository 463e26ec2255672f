"""What a cluster is like, as far as an install of the mesh depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quilt_cli.core.objects import Raw
from quilt_cli.core.snapshot import Snapshot
from quilt_crds.wire import Node


@dataclass(frozen=True, slots=True)
class ForeignNetwork:
    """A DaemonSet of somebody else's that writes CNI configuration or is a known network."""

    namespace: str
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """One look at a cluster; None means that it could not be read.

    `crds` maps our CRDs' names to the versions that they serve, of those that exist; `definitions` has these
    as they are. `service_cidrs` are the Service networks. `pod_security` is what the release namespace
    enforces, empty for nothing.
    """

    version: str
    namespace: str
    crds: Mapping[str, tuple[str, ...]] | None = None
    foreign: tuple[ForeignNetwork, ...] | None = None
    service_cidrs: tuple[str, ...] | None = None
    nodes: tuple[Node, ...] | None = None
    pod_security: str | None = ""
    definitions: Mapping[str, Raw] = field(default_factory=dict)
    mesh: Snapshot = field(default_factory=lambda: Snapshot(installed=False))
