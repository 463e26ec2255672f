"""What is asked of the reference evaluator, and what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TypeAlias

from quilt_policy.cluster_objects import ClusterNetworkPolicy
from quilt_policy.objects import NetworkPolicy, Pod
from quilt_policy.program import Direction

Address: TypeAlias = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node: its labels, the addresses that it is known by, and its own in the pods' subnet.

    Packets of its processes to pods of other nodes come from the latter.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    addresses: frozenset[Address] = frozenset()
    inner: frozenset[Address] = frozenset()


@dataclass(frozen=True, slots=True)
class World:
    """All that verdicts depend on.

    `pods` are those that have an address of the pod network, by each of theirs. `namespaces` are labels by
    name, `nodes` are by name.
    """

    pods: Mapping[Address, Pod] = field(default_factory=dict)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    policies: tuple[NetworkPolicy, ...] = ()
    cluster_policies: tuple[ClusterNetworkPolicy, ...] = ()
    nodes: Mapping[str, NodeFacts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Connection:
    """Who connects to whom; `protocol` TCP, UDP, SCTP, or any other such as ICMP, which has no port (0)."""

    client: Address
    server: Address
    protocol: str = "TCP"
    port: int = 0


@unique
class Reason(Enum):
    """Why a connection may pass a pod's policies of one direction, or not."""

    RULE = "a rule decides"
    ISOLATED = "the pod is isolated and no rule matches"
    NOT_ISOLATED = "no policy decides"
    OWN_NODE = "the pod's own node is always reached and always let in"
    ITSELF = "a pod always reaches itself"
    NO_POD = "there is no pod with that address"


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict of one direction.

    `policies` are `namespace/name` or `ClusterNetworkPolicy/name`: the one whose rule decides, with the
    rule's index (of those in that direction), or those which isolate the pod.
    """

    direction: Direction
    allowed: bool
    reason: Reason
    policies: tuple[str, ...] = ()
    rule: int | None = None

    @property
    def origin(self) -> str:
        """Where the deciding rule was written, as a program's rules have it; else nothing."""
        if self.rule is None:
            return ""
        return f"{self.policies[0]} {self.direction.value.lower()} {self.rule}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Both directions: the client's egress and the server's ingress."""

    egress: Decision
    ingress: Decision

    @property
    def allowed(self) -> bool:
        """Whether the connection is established."""
        return self.egress.allowed and self.ingress.allowed


@dataclass(frozen=True, slots=True)
class Side:
    """A connection as the pod sees it whose policies are asked."""

    world: World
    connection: Connection
    direction: Direction
    pod: Pod

    @property
    def other(self) -> Address:
        """The other side's address."""
        egress = self.direction is Direction.EGRESS
        return self.connection.server if egress else self.connection.client

    @property
    def peer(self) -> Pod | None:
        """The other side's pod, None where it is no pod of the network."""
        return self.world.pods.get(self.other)

    @property
    def itself(self) -> bool:
        """Whether the pod is on both sides."""
        return self.peer is not None and self.peer.key == self.pod.key

    @property
    def own_node(self) -> bool:
        """Whether the other side is the node that the pod runs on."""
        node = self.world.nodes.get(self.pod.node)
        return node is not None and self.other in node.addresses | node.inner

    @property
    def aliases(self) -> set[Address]:
        """The addresses under which the other side is known: of a node all of them, by any of them."""
        found = {self.other}
        for node in self.world.nodes.values():
            if self.other in node.inner:
                found |= node.addresses
        return found

    @property
    def has_port(self) -> set[str]:
        """The names that the server, where it is a pod, has for the port of the connection."""
        server = self.world.pods.get(self.connection.server)
        wanted = (self.connection.protocol, self.connection.port)
        ports = server.ports if server is not None else ()
        return {port.name for port in ports if (port.protocol, port.number) == wanted}

    def says(self, reason: Reason, policies: Iterable[str] = (), *, allowed: bool = True) -> Decision:
        """Return a verdict that no rule decides."""
        return Decision(self.direction, allowed, reason, tuple(policies))


def name_of(policy: NetworkPolicy | ClusterNetworkPolicy) -> str:
    """Return what decisions call a policy."""
    place = policy.namespace if isinstance(policy, NetworkPolicy) else "ClusterNetworkPolicy"
    return f"{place}/{policy.name}"


def in_network(address: Address, cidr: str) -> bool:
    """Whether the address is in the CIDR; raises ValueError for what is not one."""
    return address in ip_network(cidr, strict=False)
