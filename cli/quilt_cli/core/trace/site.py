"""The two nodes of a way, what the mesh wants of them, and the ends on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, ip_network

from quilt_cli.core.trace.kernel import Address, Kernel, address
from quilt_crds.names import DEFAULT_NETWORK, POD_INTERFACE_PREFIX, vtep_mac
from quilt_crds.wire_network import QuiltNetworkSpec


@dataclass(frozen=True, slots=True)
class End:
    """One end: a pod, or a node by its address inside the mesh; `interface` is a pod's on its node."""

    name: str
    address: Address
    node: str
    is_pod: bool = False
    interface: str = ""


def interface_of(address4: str) -> str:
    """The name of a pod's interface on its node, which follows from its IPv4 address."""
    return f"{POD_INTERFACE_PREFIX}{int(IPv4Address(address4)):08x}"


@dataclass(frozen=True)
class Site:
    """A node: its subnet of the family that is traced, its host address, its agent's pod, its kernel.

    `silent` says why the kernel was not read.
    """

    name: str
    cidr: str
    host_ip: str
    namespace: str = ""
    pod: str = ""
    kernel: Kernel | None = None
    silent: str = ""

    @property
    def vtep(self) -> Address:
        """Its address inside the mesh: the first of its subnet."""
        return ip_network(self.cidr).network_address

    @property
    def gateway(self) -> str:
        """The bridge's address with its length, to which its pods send everything."""
        subnet = ip_network(self.cidr)
        return f"{subnet.network_address + 1}/{subnet.prefixlen}"

    @property
    def mac(self) -> str:
        """The MAC of its VXLAN device."""
        return vtep_mac(DEFAULT_NETWORK, self.name)

    @cached_property
    def held(self) -> Kernel:
        """The kernel, empty where it was not read."""
        return self.kernel or Kernel({"missing": {}})

    @cached_property
    def underlay(self) -> str:
        """The device that has the host address; empty where none has."""
        return self.held.device_of(self.host_ip)

    def lacks(self, *parts: str) -> str:
        """Why one of these parts of its kernel is not known; empty where all are."""
        return self.silent or self.held.lacks(*parts)

    def by_hand(self, command: str) -> str:
        """A command that is typed on the node."""
        return f"{command}   (on {self.name})"

    def by_agent(self, command: str) -> str:
        """A command that is run in the agent's container, which has nft."""
        return f"kubectl -n {self.namespace} exec {self.pod} -c agent -- {command}"


@dataclass(frozen=True, slots=True)
class Want:
    """What the network asks for."""

    spec: QuiltNetworkSpec

    @property
    def device(self) -> str:
        """The overlay's device."""
        return self.spec.vxlan.device

    def mtu(self, site: Site) -> int | None:
        """The MTU of the overlay on a node; None where its underlay's is not known."""
        if isinstance(self.spec.vxlan.mtu, int):
            return self.spec.vxlan.mtu
        link = site.held.link(site.underlay)
        # IP (20 or 40), UDP 8, VXLAN 8, inner Ethernet 14.
        return None if link is None else int(link["mtu"]) - (70 if ":" in site.host_ip else 50)

    def direct(self, site: Site, peer: Site) -> str:
        """The device by which a peer is reached without the overlay; empty where it is not."""
        if not self.spec.vxlan.direct_routing or (":" in peer.host_ip) != (":" in peer.cidr):
            return ""
        route = site.held.route(address(peer.host_ip))
        gateway, device = site.held.way(route) if route else ("", "")
        return "" if gateway or device != site.underlay else device
