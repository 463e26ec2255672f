"""The mesh's settings as a node reads them: the QuiltNetwork's spec, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quilt_crds.durations import parse_duration
from quilt_crds.names import IPV6_MTU, wire_name
from quilt_crds.wire_network import QuiltNetworkSpec
from quilt_nodeagent.core.overlay import Overlay, Vxlan
from quilt_nodeagent.core.peer import Reach


class Network(QuiltNetworkSpec, frozen=True):
    """Settings of one mesh; times in seconds."""

    @property
    def overlay(self) -> Overlay:
        """The way to other nodes."""
        return Vxlan(self.vxlan)

    @property
    def dual_stack(self) -> bool:
        """Whether nodes have an IPv6 subnet too."""
        return any(":" in cidr for cidr in self.cidrs)

    @property
    def prefix_length(self) -> int:
        """That of every node's IPv4 subnet, 0 where Kubernetes chooses them: then it is its podCIDR's."""
        return 0 if self.ipam.mode == "kubernetes" else self.node_prefix_length

    @property
    def heartbeat_interval(self) -> float:
        """Time between heartbeats."""
        return parse_duration(self.heartbeat.interval)

    @property
    def heartbeat_timeout(self) -> float:
        """Time without one after which a node is dead."""
        return parse_duration(self.heartbeat.timeout)

    def device_mtu(self, underlay: int, host_ip: str) -> int:
        """MTU of the overlay's device, the bridge and pods over an underlay with MTU `underlay`."""
        mtu = self.vxlan.mtu
        return mtu if isinstance(mtu, int) else underlay - self.overlay.overhead(host_ip)

    def reach(self, underlay: int, host_ip: str) -> Reach:
        """What the overlay can carry; why it is not IPv6 is for the runtime to say."""
        return Reach(":" in host_ip, self.device_mtu(underlay, host_ip) >= IPV6_MTU)


def read_network(spec: Mapping[str, Any]) -> Network:
    """Read a QuiltNetwork's spec; absent fields take their defaults. ValueError names what cannot be used."""
    network = Network.read(spec)
    for name, text in (("interval", network.heartbeat.interval), ("timeout", network.heartbeat.timeout)):
        try:
            parse_duration(text)
        except ValueError as error:
            raise ValueError(f"{name} of the QuiltNetwork cannot be used: {error}") from error
    for name in ("max_groups_per_pod", "max_groups_per_node"):
        if (value := getattr(network.multicast, name)) < 1:
            raise ValueError(
                f"multicast.{wire_name(name)} of the QuiltNetwork is {value!r}, must be a number from 1"
            )
    return network
