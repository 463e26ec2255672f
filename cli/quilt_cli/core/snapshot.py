"""All that was read of the cluster for one answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from quilt_cli.core.objects import SystemPod, Workload
from quilt_crds.wire import Node, QuiltNode, QuiltSubnet
from quilt_crds.wire_network import QuiltNetwork, QuiltNetworkSpec
from quilt_kube.listwatch import convert


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Objects as read, each kind at its own moment; None means that the kind could not be read.

    `unreadable` says per kind why. `installed` is whether the API server knows our kinds at all.
    """

    installed: bool
    network: QuiltNetwork | None = None
    mesh_nodes: tuple[QuiltNode, ...] = ()
    subnets: tuple[QuiltSubnet, ...] = ()
    kube_nodes: tuple[Node, ...] | None = None
    pods: tuple[SystemPod, ...] | None = None
    agents: Workload | None = None
    operator: Workload | None = None
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> QuiltNetworkSpec:
        """The QuiltNetwork's, or what a network has that says nothing."""
        return convert(self.network.spec if self.network is not None else {}, QuiltNetworkSpec)

    @property
    def release_namespace(self) -> str:
        """Where the chart is installed, as far as known."""
        for found in (self.agents, self.operator):
            if found is not None:
                return found.namespace
        return "quilt-system"
