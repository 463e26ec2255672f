"""A small cluster: its objects, what the operator reports of them, and what one node's compiler is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from quilt_policy.cluster_objects import ClusterNetworkPolicy
from quilt_policy.compile import Compiler
from quilt_policy.labels import matches
from quilt_policy.objects import NetworkPolicy, Pod
from quilt_policy.places import Place
from quilt_policy.selectors import PeerSelector
from quilt_policy.verdicts import Address, NodeFacts, World
from tests.support.policy_interpreter import Node

HERE = "n1"
"""The node whose compiler is looked at."""

Known = dict[PeerSelector, tuple[bytes, bool]]
"""Addresses behind selectors, and whether it is those that are not selected."""


@dataclass
class Scene:
    """The objects by name, and what the operator has reported so far.

    Pods are named p0, p1 and so on, nodes n1, n2 and so on: their addresses follow from that. `ended` are
    those of `pods` that completed: objects without an address; `born` counts all that there ever were.
    """

    pods: dict[str, Pod] = field(default_factory=dict)
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    policies: dict[str, NetworkPolicy] = field(default_factory=dict)
    cluster: dict[str, ClusterNetworkPolicy] = field(default_factory=dict)
    nodes: dict[str, dict[str, str]] = field(default_factory=dict)
    known: Known = field(default_factory=dict)
    connected: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    born: int = 0

    @property
    def with_address(self) -> dict[str, Pod]:
        """Pods of the pod network that have not completed."""
        return {
            name: pod
            for name, pod in self.pods.items()
            if not pod.spec.host_network and name not in self.ended
        }

    def addresses(self, name: str) -> tuple[IPv4Address, IPv6Address]:
        """Both addresses of a pod."""
        place, number = place_of(self.pods[name].node), 2 + int(name[1:])
        assert place.subnet6 is not None
        return place.subnet[number], place.subnet6[number]

    def world(self) -> World:
        """What the reference evaluator is asked about."""
        return World(
            pods={
                address: pod for name, pod in self.with_address.items() for address in self.addresses(name)
            },
            namespaces=self.namespaces,
            policies=tuple(self.policies.values()),
            cluster_policies=tuple(self.cluster.values()),
            nodes={name: facts_of(name, labels) for name, labels in self.nodes.items()},
        )

    def node(self) -> Node:
        """What the runtime knows by itself."""
        own = facts_of(HERE, {})
        local = {
            address: pod.key
            for name, pod in self.with_address.items()
            if pod.node == HERE
            for address in self.addresses(name)
        }
        return Node(local, own.addresses | own.inner, is_pod)

    def behind(self, family: PeerSelector) -> Known:
        """Who is behind a selector that a policy needs, or behind those of a named port's family."""
        if family.nodes is not None:
            names = [name for name, labels in self.nodes.items() if matches(family.nodes, labels)]
            return {family: (packed(one for name in names for one in facts_of(name, {}).addresses), False)}
        everyone = self.with_address
        selected = {
            name: pod
            for name, pod in everyone.items()
            if family.selects(pod.namespace, self.namespaces.get(pod.namespace, {}), pod.labels)
        }
        if not family.is_family:
            complement = 2 * len(selected) > len(everyone)
            return {family: (self._v4(everyone.keys() - selected if complement else selected), complement)}
        having = {name: family.numbers(pod.ports) for name, pod in selected.items()}
        found: Known = {family: (b"", False)}
        for number in set().union(*having.values()):
            members = [name for name, numbers in having.items() if number in numbers]
            found[family.with_number(number)] = (self._v4(members), False)
        return found

    def report(self, compiler: Compiler, families: Iterable[PeerSelector]) -> None:
        """Be the operator: report who is behind these selectors now."""
        for family in families:
            now = self.behind(family)
            for gone in [one for one in self.known if one.family == family and one not in now]:
                del self.known[gone]
                compiler.drop_members(gone)
            for selector, (v4, complement) in now.items():
                self.known[selector] = (v4, complement)
                compiler.put_members(selector, v4, complement=complement)

    def compiled(self) -> Compiler:
        """A new compiler that is given everything, in order."""
        compiler = Compiler()
        for name in self.nodes:
            compiler.put_place(name, place_of(name))
        for selector, (v4, complement) in self.known.items():
            compiler.put_members(selector, v4, complement=complement)
        for name, labels in self.namespaces.items():
            compiler.put_namespace(name, labels)
        for policy in self.policies.values():
            compiler.put_policy(policy)
        for cluster_policy in self.cluster.values():
            compiler.put_cluster_policy(cluster_policy)
        for name, pod in self.pods.items():
            if pod.node == HERE:
                compiler.put_pod(pod, connected=name in self.connected)
        return compiler

    def _v4(self, names: Iterable[str]) -> bytes:
        return packed(self.addresses(name)[0] for name in names)


def place_of(node: str) -> Place:
    """A node's addresses, by the number in its name."""
    number = int(node[1:])
    return Place(
        IPv4Address(f"192.168.0.{number}"),
        IPv4Network(f"10.42.{number}.0/24"),
        IPv6Network(f"fd42:42:0:{number}::/64"),
    )


def facts_of(node: str, labels: dict[str, str]) -> NodeFacts:
    """The same for the evaluator."""
    place = place_of(node)
    assert place.host is not None
    return NodeFacts(labels, frozenset({place.host}), frozenset(place.inner))


def is_pod(address: Address) -> bool:
    """Whether the address is in a subnet of pods, and not the VTEP's or the gateway's."""
    for number in range(1, 5):
        place = place_of(f"n{number}")
        subnets = (place.subnet, place.subnet6)
        if any(subnet is not None and address in subnet for subnet in subnets):
            return address not in place.inner
    return False


def packed(addresses: Iterable[Address]) -> bytes:
    """Sorted, without doubles."""
    return b"".join(sorted({address.packed for address in addresses}))
