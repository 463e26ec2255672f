"""What is read of Kubernetes for network policies, as msgspec structs with the names on the wire.

Only fields that policies depend on are decoded. All have defaults, so that objects of an older or newer API
can be read. ClusterNetworkPolicy is in `cluster_objects`.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from quilt_policy.labels import LabelSelector
from quilt_policy.program import PodName


class Wire(msgspec.Struct, frozen=True, rename="camel"):
    """Base of all structs: immutable, camelCase on the wire."""


class Meta(Wire, frozen=True):
    """Object metadata."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class WireObject(Wire, frozen=True):
    """Base of objects."""

    metadata: Meta = Meta()

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """metadata.namespace."""
        return self.metadata.namespace

    @property
    def labels(self) -> dict[str, str]:
        """metadata.labels."""
        return self.metadata.labels


class Namespace(WireObject, frozen=True):
    """A Namespace, of which only the metadata matters."""


# Pods and nodes


class NamedPort(NamedTuple):
    """A port that a container has a name for; `protocol` is TCP, UDP or SCTP."""

    name: str
    protocol: str
    number: int


class ContainerPort(Wire, frozen=True):
    """A port of a container, perhaps with a name."""

    name: str = ""
    container_port: int = 0
    protocol: str = "TCP"


class Container(Wire, frozen=True):
    """A container's ports; `restart_policy` is Always for an init container that is a sidecar."""

    ports: tuple[ContainerPort, ...] = ()
    restart_policy: str = ""


class PodSpec(Wire, frozen=True):
    """Where the pod runs and which ports it has."""

    node_name: str = ""
    host_network: bool = False
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()


class PodStatus(Wire, frozen=True):
    """Its phase: which pod has an address is known from its node's record."""

    phase: str = ""


class Pod(WireObject, frozen=True):
    """A Pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def key(self) -> PodName:
        """Which pod it is, apart from a later one of the same name."""
        return PodName(self.namespace, self.name, self.metadata.uid)

    @property
    def node(self) -> str:
        """The node that it is bound to, or empty."""
        return self.spec.node_name

    @property
    def ports(self) -> tuple[NamedPort, ...]:
        """Its named ports, those of sidecars (init containers that restart always) too."""
        sidecars = (one for one in self.spec.init_containers if one.restart_policy == "Always")
        return tuple(
            NamedPort(port.name, port.protocol, port.container_port)
            for container in (*self.spec.containers, *sidecars)
            for port in container.ports
            if port.name
        )


class NodeAddress(Wire, frozen=True):
    """One of a node's addresses; `type` is InternalIP, ExternalIP, Hostname and others."""

    type: str = ""
    address: str = ""


class NodeStatus(Wire, frozen=True):
    """Where a node can be reached."""

    addresses: tuple[NodeAddress, ...] = ()


class Node(WireObject, frozen=True):
    """A Node, for ClusterNetworkPolicies that name nodes by their labels."""

    status: NodeStatus = NodeStatus()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its IP addresses, of both families."""
        return tuple(one.address for one in self.status.addresses if one.type in {"InternalIP", "ExternalIP"})


# NetworkPolicy (networking.k8s.io/v1)


class IPBlock(Wire, frozen=True):
    """A CIDR of either family, without those in `except_`."""

    cidr: str = ""
    except_: tuple[str, ...] = msgspec.field(default=(), name="except")


class PolicyPort(Wire, frozen=True):
    """Ports of one protocol: a number, a name, a number to `end_port`, or all of them."""

    protocol: str = "TCP"
    port: int | str | None = None
    end_port: int | None = None


class PolicyPeer(Wire, frozen=True):
    """The other side: a block of addresses, or pods by selectors."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = msgspec.field(default=None, name="ipBlock")


class IngressRule(Wire, frozen=True):
    """Who may connect, to which ports; nobody named is everybody, no ports are all of every protocol."""

    ports: tuple[PolicyPort, ...] = ()
    from_: tuple[PolicyPeer, ...] = msgspec.field(default=(), name="from")

    @property
    def peers(self) -> tuple[PolicyPeer, ...]:
        """`from`."""
        return self.from_


class EgressRule(Wire, frozen=True):
    """Whom the pods may connect to, at which ports; as with `IngressRule`."""

    ports: tuple[PolicyPort, ...] = ()
    to: tuple[PolicyPeer, ...] = ()

    @property
    def peers(self) -> tuple[PolicyPeer, ...]:
        """`to`."""
        return self.to


class NetworkPolicySpec(Wire, frozen=True):
    """Which pods of the namespace are isolated, in which directions, and what they may nevertheless do."""

    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[str, ...] = ()
    ingress: tuple[IngressRule, ...] = ()
    egress: tuple[EgressRule, ...] = ()


class NetworkPolicy(WireObject, frozen=True):
    """A NetworkPolicy."""

    spec: NetworkPolicySpec = NetworkPolicySpec()

    @property
    def types(self) -> tuple[str, ...]:
        """Ingress, Egress or both, by default as the API server has it: Egress where there are such rules."""
        return self.spec.policy_types or (("Ingress", "Egress") if self.spec.egress else ("Ingress",))
