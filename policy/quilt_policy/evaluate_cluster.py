"""The part of the reference evaluator that asks the tiers of ClusterNetworkPolicies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from quilt_policy.cluster_objects import (
    ClusterNetworkPolicy,
    ClusterPeer,
    ClusterPort,
    ClusterProtocol,
    ClusterRule,
)
from quilt_policy.objects import Pod
from quilt_policy.program import Direction
from quilt_policy.verdicts import Decision, Reason, Side, World, in_network, name_of


def is_subject(world: World, policy: ClusterNetworkPolicy, pod: Pod) -> bool:
    """Whether a policy holds for a pod."""
    subject, labels = policy.spec.subject, world.namespaces.get(pod.namespace, {})
    if subject.namespaces is not None:
        return subject.namespaces.matches(labels)
    if subject.pods is not None:
        pods = subject.pods
        return pods.namespace_selector.matches(labels) and pods.pod_selector.matches(pod.labels)
    return False


def tier(side: Side, policies: Iterable[ClusterNetworkPolicy]) -> Decision | None:
    """Return what the first rule that matches says; None where none does, or where it passes."""
    for policy, number, rule in _cluster_rules(side, policies):
        action = _action(side, rule)
        if action == "Pass":
            return None
        if action:
            return Decision(side.direction, action == "Accept", Reason.RULE, (name_of(policy),), number)
    return None


def _cluster_rules(
    side: Side, policies: Iterable[ClusterNetworkPolicy]
) -> Iterator[tuple[ClusterNetworkPolicy, int, ClusterRule]]:
    for policy in policies:
        ingress = side.direction is Direction.INGRESS
        for number, rule in enumerate(policy.spec.ingress if ingress else policy.spec.egress):
            yield policy, number, rule


def _action(side: Side, rule: ClusterRule) -> str:
    """Return what a rule has to say of the connection: its action, or nothing where it does not match.

    Where it has something that is not known, Accept matches nothing and the other actions deny everything.
    """
    peers = rule.from_ if side.direction is Direction.INGRESS else rule.to
    if not peers or any(_unknown(side, peer) for peer in peers) or any(map(_unknown_ports, rule.protocols)):
        return "" if rule.action == "Accept" else "Deny"
    for peer in peers:
        if _cluster_peer_matches(side, peer) and _protocols_match(side, rule.protocols):
            return rule.action if rule.action in {"Accept", "Pass"} else "Deny"
    return ""


def _unknown(side: Side, peer: ClusterPeer) -> bool:
    if peer.namespaces is not None or peer.pods is not None:
        return False
    return side.direction is Direction.INGRESS or (peer.nodes is None and not peer.networks)


def _cluster_peer_matches(side: Side, peer: ClusterPeer) -> bool:
    world, pod = side.world, side.peer
    if peer.networks:
        return any(in_network(address, cidr) for address in side.aliases for cidr in peer.networks)
    if peer.nodes is not None:
        return any(
            peer.nodes.matches(node.labels) and side.other in node.addresses | node.inner
            for node in world.nodes.values()
        )
    if pod is None:
        return False
    labels = world.namespaces.get(pod.namespace, {})
    if peer.namespaces is not None:
        return peer.namespaces.matches(labels)
    pods = peer.pods
    return (
        pods is not None and pods.namespace_selector.matches(labels) and pods.pod_selector.matches(pod.labels)
    )


def _ports(protocol: ClusterProtocol) -> dict[str, ClusterPort | None]:
    """Return the ports by protocol, None for all of them."""
    sides = {"TCP": protocol.tcp, "UDP": protocol.udp, "SCTP": protocol.sctp}
    return {name: one.destination_port for name, one in sides.items() if one is not None}


def _unknown_ports(protocol: ClusterProtocol) -> bool:
    ports = _ports(protocol)
    if not ports and not protocol.destination_named_port:
        return True
    return any(port is not None and port.number is None and port.range is None for port in ports.values())


def _protocols_match(side: Side, protocols: tuple[ClusterProtocol, ...]) -> bool:
    return not protocols or any(_protocol_matches(side, one) for one in protocols)


def _protocol_matches(side: Side, protocol: ClusterProtocol) -> bool:
    if protocol.destination_named_port:
        return protocol.destination_named_port in side.has_port
    ports = _ports(protocol)
    if side.connection.protocol not in ports:
        return False
    wanted = ports[side.connection.protocol]
    if wanted is None:
        return True
    if wanted.range is not None:
        return wanted.range.start <= side.connection.port <= wanted.range.end
    return wanted.number == side.connection.port
