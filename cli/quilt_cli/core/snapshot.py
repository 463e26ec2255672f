"""All that was read of the cluster for one answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from quilt_cli.core.objects import SystemPod, Workload
from quilt_crds.names import DEFAULT_NETWORK, NODE_COMPONENT
from quilt_crds.wire import Node, QuiltNode, QuiltSubnet
from quilt_crds.wire_network import QuiltNetwork, QuiltNetworkSpec
from quilt_kube.decoding import convert


@dataclass(frozen=True)
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

    @classmethod
    def of(cls, installed: bool, found: Mapping[str, Any], unreadable: dict[str, str]) -> Self:
        """Make one of the objects of every kind that could be read, by the names of `unreadable`."""
        networks = (item for item in found.get("networks", ()) if item.name == DEFAULT_NETWORK)
        return cls(
            installed=installed,
            network=next(networks, None),
            mesh_nodes=found.get("quiltnodes", ()),
            subnets=found.get("subnets", ()),
            kube_nodes=found.get("nodes"),
            pods=found.get("pods"),
            agents=next(iter(found.get("daemonsets", ())), None),
            operator=next(iter(found.get("deployments", ())), None),
            unreadable=unreadable,
        )

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

    @cached_property
    def mesh_node_of(self) -> Mapping[str, QuiltNode]:
        """The QuiltNodes by name."""
        return {item.name: item for item in self.mesh_nodes}

    @cached_property
    def kube_node_of(self) -> Mapping[str, Node]:
        """The Nodes by name, none where they could not be read."""
        return {item.name: item for item in self.kube_nodes or ()}

    @cached_property
    def subnets_of(self) -> Mapping[str, tuple[QuiltSubnet, ...]]:
        """The claims by the node that owns them."""
        found: dict[str, list[QuiltSubnet]] = {}
        for item in self.subnets:
            found.setdefault(item.node, []).append(item)
        return {node: tuple(held) for node, held in found.items()}

    @cached_property
    def pod_of(self) -> Mapping[str, SystemPod]:
        """The mesh's pods by their node, as far as they can be seen."""
        pods = (pod for pod in self.pods or () if pod.component == NODE_COMPONENT)
        return {pod.node: pod for pod in reversed([*pods])}
