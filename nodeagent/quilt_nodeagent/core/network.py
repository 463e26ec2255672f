"""The mesh's settings, as far as a node needs them: a typed reading of the QuiltNetwork's spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quilt_crds.durations import parse_duration
from quilt_crds.names import DEFAULT_CLUSTER_CIDRS, IPV6_MTU, wire_name
from quilt_crds.wire_network import MulticastSpec, UnderlaySpec, VxlanSpec, network_spec
from quilt_nodeagent.core.overlay import VXLAN_DEFAULTS, Overlay, Vxlan
from quilt_nodeagent.core.peer import Reach
from quilt_nodeagent.core.underlay import NO_CHOICE

MULTICAST_OFF = MulticastSpec()


@dataclass(frozen=True, slots=True)
class Network:
    """Settings of one mesh; times in seconds.

    `prefix_length` is that of every node's IPv4 subnet, 0 where Kubernetes hands them out: then each node's
    is as long as its podCIDR. `endpoints` are to be published, `policies` enforced, and what they deny logged
    (`log_denied`).
    """

    cluster_cidrs: tuple[str, ...] = DEFAULT_CLUSTER_CIDRS
    vxlan: VxlanSpec = VXLAN_DEFAULTS
    heartbeat_interval: float = 10.0
    heartbeat_timeout: float = 30.0
    keep_down: bool = False
    multicast: MulticastSpec = MULTICAST_OFF
    prefix_length: int = 24
    spoof_guard: bool = True
    underlay: UnderlaySpec = NO_CHOICE
    endpoints: bool = True
    policies: bool = False
    log_denied: bool = False
    probes: bool = True

    @property
    def overlay(self) -> Overlay:
        """The way to other nodes."""
        return Vxlan(self.vxlan)

    @property
    def dual_stack(self) -> bool:
        """Whether nodes have an IPv6 subnet too."""
        return any(":" in cidr for cidr in self.cluster_cidrs)

    def device_mtu(self, underlay: int, host_ip: str) -> int:
        """MTU of the overlay's device, the bridge and pods over an underlay with MTU `underlay`."""
        mtu = self.vxlan.mtu
        return mtu if isinstance(mtu, int) else underlay - self.overlay.overhead(host_ip)

    def reach(self, underlay: int, host_ip: str) -> Reach:
        """What the overlay can carry; why it is not IPv6 is for the runtime to say."""
        return Reach(":" in host_ip, self.device_mtu(underlay, host_ip) >= IPV6_MTU)


def read_network(spec: Mapping[str, Any]) -> Network:
    """Read a QuiltNetwork's spec; absent fields take their defaults. ValueError names what cannot be used."""
    read = network_spec(spec)
    return Network(
        cluster_cidrs=read.cidrs,
        vxlan=read.vxlan,
        heartbeat_interval=_duration("interval", read.heartbeat.interval),
        heartbeat_timeout=_duration("timeout", read.heartbeat.timeout),
        keep_down=read.node_down_policy == "Keep",
        multicast=_multicast(read.multicast),
        prefix_length=0 if read.ipam.mode == "kubernetes" else read.node_prefix_length,
        spoof_guard=read.spoof_guard,
        underlay=read.underlay,
        endpoints=read.publishes_endpoints,
        policies=read.policy.enabled,
        log_denied=read.policy.log_denied,
        probes=read.probes.enabled,
    )


def _duration(name: str, text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{name} of the QuiltNetwork cannot be used: {error}") from error


def _multicast(spec: MulticastSpec) -> MulticastSpec:
    for name in ("max_groups_per_pod", "max_groups_per_node"):
        if (value := getattr(spec, name)) < 1:
            raise ValueError(
                f"multicast.{wire_name(name)} of the QuiltNetwork is {value!r}, must be a number from 1"
            )
    return spec
