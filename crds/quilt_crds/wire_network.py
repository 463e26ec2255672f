"""The QuiltNetwork, as `wire` has the other objects."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, Self

import msgspec

from quilt_crds.names import DEFAULT_CLUSTER_CIDRS, DEFAULT_VNI, VXLAN_DEVICE, VXLAN_PORT
from quilt_crds.wire import Condition, Wire, WireObject


class UnderlaySpec(Wire, frozen=True):
    """Which of its addresses a node uses below the mesh: interfaces between commas, networks."""

    interface: str = ""
    cidrs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for cidr in self.cidrs:
            ip_network(cidr)

    @property
    def given(self) -> bool:
        """Whether anything was chosen; otherwise the Node's InternalIP counts."""
        return bool(self.interface or self.cidrs)


class VxlanSpec(Wire, frozen=True):
    """The overlay device; `mtu` is `auto` or a number."""

    vni: int = DEFAULT_VNI
    port: int = VXLAN_PORT
    device: str = VXLAN_DEVICE
    mtu: int | str = "auto"
    direct_routing: bool = False


class HeartbeatSpec(Wire, frozen=True):
    """How a dead node is noticed, as durations in text."""

    interval: str = "10s"
    timeout: str = "30s"


class MulticastSpec(Wire, frozen=True):
    """Multicast between pods of different nodes."""

    enabled: bool = False
    fast_leave: bool = True
    namespaces: tuple[str, ...] = ()
    max_groups_per_pod: int = 64
    max_groups_per_node: int = 1024


class PolicySpec(Wire, frozen=True):
    """Whether nodes enforce network policies, and log what these deny."""

    enabled: bool = False
    log_denied: bool = False


class EndpointsSpec(Wire, frozen=True):
    """Whether agents publish which pod has which address."""

    enabled: bool = True


class ProbesSpec(Wire, frozen=True):
    """Whether nodes probe the paths to each other."""

    enabled: bool = True


class Ipam(Wire, frozen=True):
    """Who chooses the nodes' subnets: `quilt` or `kubernetes`."""

    mode: str = "quilt"


class QuiltNetworkSpec(Wire, frozen=True):
    """The network, as far as nodes and people need it; the operator validates the whole."""

    cluster_cidrs: tuple[str, ...] = DEFAULT_CLUSTER_CIDRS
    cluster_cidrs_v6: tuple[str, ...] = ()
    node_prefix_length: int = 24
    node_prefix_length_v6: int = 64
    ipam: Ipam = Ipam()
    underlay: UnderlaySpec = UnderlaySpec()
    vxlan: VxlanSpec = VxlanSpec()
    heartbeat: HeartbeatSpec = HeartbeatSpec()
    multicast: MulticastSpec = MulticastSpec()
    policy: PolicySpec = PolicySpec()
    endpoints: EndpointsSpec = EndpointsSpec()
    probes: ProbesSpec = ProbesSpec()
    spoof_guard: bool = True
    node_down_policy: str = "Withdraw"

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        """Read a QuiltNetwork's spec; ValueError names a field that cannot be used."""
        try:
            return msgspec.convert(raw, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"spec of the QuiltNetwork cannot be used: {error}") from error

    @property
    def publishes_endpoints(self) -> bool:
        """Whether agents publish QuiltEndpoints: policies cannot do without."""
        return self.endpoints.enabled or self.policy.enabled

    @property
    def cidrs(self) -> tuple[str, ...]:
        """The ranges of both families."""
        return (*self.cluster_cidrs, *self.cluster_cidrs_v6)


class SubnetCounts(Wire, frozen=True):
    """How many node subnets there are and what became of them."""

    total: int = 0
    allocated: int = 0
    free: int = 0
    quarantined: int = 0


class QuiltNetworkStatus(Wire, frozen=True):
    """What the operator observes."""

    observed_generation: int = 0
    subnets: SubnetCounts = SubnetCounts()
    conditions: tuple[Condition, ...] = ()


class QuiltNetwork(WireObject, frozen=True):
    """The network; `spec` stays JSON until somebody reads it, so that one who cannot use it can say why."""

    spec: dict[str, Any] = msgspec.field(default_factory=dict)
    status: QuiltNetworkStatus = QuiltNetworkStatus()
