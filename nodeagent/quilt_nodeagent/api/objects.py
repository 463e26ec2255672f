"""The parts of API objects that the agent reads, as typed structs: 5,000 claims decode in milliseconds."""

from __future__ import annotations

from typing import Any

import msgspec


class Meta(msgspec.Struct, rename="camel"):
    """Object metadata."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""


class ClaimSpec(msgspec.Struct):
    """spec of a QuiltSubnet."""

    cidr: str = ""
    network: str = ""
    node: str = ""


class ClaimMesh(msgspec.Struct, rename={"host_ip": "hostIP"}):
    """mesh of a QuiltSubnet."""

    phase: str = ""
    host_ip: str = ""


class Claim(msgspec.Struct):
    """A QuiltSubnet."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: ClaimSpec = msgspec.field(default_factory=ClaimSpec)
    mesh: ClaimMesh = msgspec.field(default_factory=ClaimMesh)


class Network(msgspec.Struct):
    """A QuiltNetwork; its spec is read by the core."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: dict[str, Any] = msgspec.field(default_factory=dict)


class NodeRoute(msgspec.Struct, rename="camel", frozen=True):
    """One of a QuiltNode's routes: `interface` or `bridge_member` is given."""

    destination: str = ""
    interface: str = ""
    bridge_member: str = ""


class NodeSpec(msgspec.Struct, rename={"host_ip": "hostIP"}):
    """spec of a QuiltNode."""

    subnet: str = ""
    host_ip: str = ""
    routes: list[NodeRoute] = msgspec.field(default_factory=list)


class QuiltNode(msgspec.Struct):
    """A QuiltNode; its status is compared with what we would write."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def subnets(self) -> tuple[str, ...]:
        """The node's claims as the operator lists them: of two in one family the last is the one to have."""
        return tuple(self.status.get("subnets") or ())

    @property
    def served(self) -> tuple[str, ...]:
        """What an agent last reported of the subnets that the runtime serves."""
        return tuple(self.status.get("servedSubnets") or ())


class NodeAddress(msgspec.Struct):
    """One address of a Node."""

    type: str = ""
    address: str = ""


class NodeStatus(msgspec.Struct):
    """status of a Node."""

    addresses: list[NodeAddress] = msgspec.field(default_factory=list)


class Node(msgspec.Struct):
    """A Kubernetes Node."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)

    @property
    def internal_ips(self) -> tuple[str, ...]:
        """The Node's InternalIP addresses, in its order."""
        return tuple(item.address for item in self.status.addresses if item.type == "InternalIP")


class Lease(msgspec.Struct):
    """A Lease, as far as a renewal needs it: the rest is written, never read."""

    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    spec: dict[str, Any] = msgspec.field(default_factory=dict)
