"""Who is on the other side of a policy's rules: the selectors behind which a set of addresses is kept.

A selector is a value. Everybody computes its name from what it says, so that operator and agents need not
agree about anything else, and the same selector in any number of policies is one set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import msgspec

from quilt_policy.cluster_objects import ClusterNetworkPolicy, ClusterPeer, ClusterRule
from quilt_policy.labels import LabelSelector, Terms, matches
from quilt_policy.objects import EgressRule, NamedPort, NetworkPolicy, PolicyPeer

__all__ = ["LabelSelector", "PeerSelector", "cluster_peer_selector", "peer_selector", "wanted", "with_port"]

PROTOCOLS = ("TCP", "UDP", "SCTP")


class PeerSelector(msgspec.Struct, frozen=True, omit_defaults=True, dict=True):
    """Pods by the labels of their namespaces and their own, or nodes by their labels.

    `namespace` is the policy's own namespace, by its name; where it is empty, `namespaces` selects. `nodes`,
    where it is not None, selects nodes, and nothing else is set.

    A named port of a pod that is connected to has a number only with the pod. What policies ask for is then
    a family: `protocol` and `port_name` with `number` 0. Its members are selectors too, one for each number
    that a selected pod has under that name; `with_number` makes them. All have the family's `label`; the
    family itself has no addresses.
    """

    namespace: str = ""
    namespaces: Terms = ()
    pods: Terms = ()
    nodes: Terms | None = None
    protocol: str = ""
    port_name: str = ""
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> PeerSelector:
        """Return the selector of which this is the `text`; raises msgspec.MsgspecError."""
        return msgspec.json.decode(text, type=cls)

    @cached_property
    def text(self) -> str:
        """Canonical JSON, which people can read and `parse` understands."""
        return msgspec.json.encode(self).decode()

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits of the text's SHA-256: what everybody calls it."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """The hash that a reader asks for: its own, or its family's."""
        return self.family.hash

    @property
    def set_name(self) -> str:
        """The name of its set of addresses on a node."""
        return f"p_{self.hash}"

    @property
    def family(self) -> PeerSelector:
        """What policies ask for: itself, but for a named port without the number."""
        return self.with_number(0) if self.number else self

    @property
    def is_family(self) -> bool:
        """Whether it represents selectors with numbers, and has no addresses itself."""
        return bool(self.port_name) and not self.number

    @property
    def any_pod(self) -> bool:
        """Whether it means every pod of the cluster, which needs no set."""
        return self == PeerSelector()

    def with_number(self, number: int) -> PeerSelector:
        """Return the selector of this family for pods that have this number under the port's name."""
        return msgspec.structs.replace(self, number=number)

    def selects(self, namespace: str, namespace_labels: Mapping[str, str], labels: Mapping[str, str]) -> bool:
        """Whether a pod is selected by its labels and its namespace's, ports aside."""
        if self.nodes is not None:
            return False
        if self.namespace:
            return namespace == self.namespace and matches(self.pods, labels)
        return matches(self.namespaces, namespace_labels) and matches(self.pods, labels)

    def numbers(self, ports: Iterable[NamedPort]) -> set[int]:
        """Return which numbers the port has in a pod with these named ports."""
        return {
            port.number for port in ports if (port.name, port.protocol) == (self.port_name, self.protocol)
        }


def peer_selector(namespace: str, peer: PolicyPeer) -> PeerSelector | None:
    """Return whom a peer of a NetworkPolicy of that namespace selects.

    None for a block of addresses, and for a peer of which no field is known: that one matches nothing.
    """
    pods, namespaces = peer.pod_selector, peer.namespace_selector
    if peer.ip_block is not None or (pods is None and namespaces is None):
        return None
    terms = pods.terms if pods is not None else ()
    if namespaces is None:
        return PeerSelector(namespace=namespace, pods=terms)
    return PeerSelector(namespaces=namespaces.terms, pods=terms)


def cluster_peer_selector(peer: ClusterPeer) -> PeerSelector | None:
    """Return whom a peer of a ClusterNetworkPolicy selects; None for networks and what is not known."""
    if peer.namespaces is not None:
        return PeerSelector(namespaces=peer.namespaces.terms)
    if peer.pods is not None:
        return PeerSelector(namespaces=peer.pods.namespace_selector.terms, pods=peer.pods.pod_selector.terms)
    return PeerSelector(nodes=peer.nodes.terms) if peer.nodes is not None else None


def with_port(selector: PeerSelector, protocol: str, name: str) -> PeerSelector:
    """Return the family of a named port of the selected pods."""
    return msgspec.structs.replace(selector, protocol=protocol, port_name=name)


def wanted(
    policies: Iterable[NetworkPolicy], cluster_policies: Iterable[ClusterNetworkPolicy] = ()
) -> set[PeerSelector]:
    """Return the selectors whose addresses these policies need: without the one that means any pod.

    Of an egress rule's named port it is the family.
    """
    found: set[PeerSelector] = set()
    for policy in policies:
        for rule in policy.spec.ingress if "Ingress" in policy.types else ():
            found.update(filter(None, (peer_selector(policy.namespace, peer) for peer in rule.peers)))
        for out in policy.spec.egress if "Egress" in policy.types else ():
            found.update(_of_egress(policy.namespace, out))
    for cluster_policy in cluster_policies:
        for one in cluster_policy.spec.ingress:
            found.update(filter(None, map(cluster_peer_selector, one.peers if one.known else ())))
        for one in cluster_policy.spec.egress:
            found.update(_of_cluster_egress(one))
    return {selector for selector in found if not selector.any_pod}


def _of_egress(namespace: str, rule: EgressRule) -> Iterator[PeerSelector]:
    """Yield its peers' selectors, of a named port families: any pod's where the peer is a block or absent."""
    named = [(port.protocol, port.port) for port in rule.ports if isinstance(port.port, str)]
    plain = len(named) < len(rule.ports) or not rule.ports
    for peer in rule.peers or (PolicyPeer(namespace_selector=LabelSelector()),):
        selector = PeerSelector() if peer.ip_block is not None else peer_selector(namespace, peer)
        if selector is None:
            continue
        if plain:
            yield selector
        yield from (with_port(selector, protocol, name) for protocol, name in named)


def _of_cluster_egress(rule: ClusterRule) -> Iterator[PeerSelector]:
    if not rule.known:
        return
    names = [one.destination_named_port for one in rule.protocols if one.destination_named_port]
    plain = len(names) < len(rule.protocols) or not rule.protocols
    for peer in rule.peers:
        selector = cluster_peer_selector(peer)
        if selector is None:
            continue
        if plain:
            yield selector
        if selector.nodes is None:
            yield from (with_port(selector, protocol, name) for name in names for protocol in PROTOCOLS)
