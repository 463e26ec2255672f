"""What a policy says, once for all pods: rules before it is known which addresses and ports they mean.

A draft depends on the policy alone. `linking` makes rules of drafts for one pod.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from quilt_policy.cluster_objects import (
    ClusterNetworkPolicy,
    ClusterPeer,
    ClusterPort,
    ClusterProtocol,
    ClusterRule,
    Subject,
)
from quilt_policy.labels import Terms
from quilt_policy.objects import EgressRule, IngressRule, NetworkPolicy, PolicyPort
from quilt_policy.program import Action, Direction, Ports, Protocol
from quilt_policy.ranges import Range, Ranges, from_blocks, from_networks, merged
from quilt_policy.selectors import PROTOCOLS, PeerSelector, cluster_peer_selector, peer_selector

NamedRef: TypeAlias = tuple[str, str]
"""A port by its protocol and name."""

Target: TypeAlias = PeerSelector | Ranges | None
"""Whom a rule is about; None is everybody."""


@dataclass(frozen=True, slots=True)
class PortsDraft:
    """Which ports: those of `plain` (without any: every protocol; None: no numbers), and those with names."""

    plain: tuple[Ports, ...] | None = ()
    named: tuple[NamedRef, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RuleDraft:
    """A rule of one peer."""

    action: Action
    target: Target
    ports: PortsDraft
    origin: str


@dataclass(frozen=True, slots=True, eq=False)
class PolicyDraft:
    """A NetworkPolicy: which pods of its namespace it selects, and the rules by direction.

    A direction in which it isolates nobody is absent.
    """

    name: str
    pods: Terms
    rules: dict[Direction, tuple[RuleDraft, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class ClusterDraft:
    """A ClusterNetworkPolicy; `order` sorts those of a tier. A direction without rules is absent."""

    order: tuple[int, str]
    admin: bool
    subject: tuple[Terms, Terms] | None
    rules: dict[Direction, tuple[RuleDraft, ...]]


EVERY_PORT = PortsDraft()


def draft(policy: NetworkPolicy) -> PolicyDraft:
    """Return what a NetworkPolicy says."""
    spec = policy.spec
    sides: dict[Direction, tuple[IngressRule | EgressRule, ...]] = {
        Direction.INGRESS: spec.ingress,
        Direction.EGRESS: spec.egress,
    }
    return PolicyDraft(
        policy.name,
        spec.pod_selector.terms,
        {
            direction: tuple(
                one
                for number, rule in enumerate(rules)
                for one in _rule(policy.namespace, rule, origin(policy, direction, number))
            )
            for direction, rules in sides.items()
            if direction.value in policy.types
        },
    )


def draft_cluster(policy: ClusterNetworkPolicy) -> ClusterDraft:
    """Return what a ClusterNetworkPolicy says."""
    spec = policy.spec
    sides = {Direction.INGRESS: spec.ingress, Direction.EGRESS: spec.egress}
    return ClusterDraft(
        (spec.priority, policy.name),
        spec.tier == "Admin",
        _subject(spec.subject),
        {
            direction: tuple(
                one
                for number, rule in enumerate(rules)
                for one in _cluster_rule(rule, origin(policy, direction, number))
            )
            for direction, rules in sides.items()
            if rules
        },
    )


def origin(policy: NetworkPolicy | ClusterNetworkPolicy, direction: Direction, number: int) -> str:
    """Return how people are shown where a rule was written."""
    place = policy.namespace if isinstance(policy, NetworkPolicy) else "ClusterNetworkPolicy"
    return f"{place}/{policy.name} {direction.value.lower()} {number}"


def _rule(namespace: str, rule: IngressRule | EgressRule, where: str) -> Iterator[RuleDraft]:
    """Yield one draft for each selector among the peers, and one for all blocks together."""
    ports = _ports(rule.ports)
    if not rule.peers:
        yield RuleDraft(Action.ACCEPT, None, ports, where)
        return
    for peer in rule.peers:
        selector = peer_selector(namespace, peer)
        if selector is not None:
            yield RuleDraft(Action.ACCEPT, selector, ports, where)
    ranges = from_blocks(peer.ip_block for peer in rule.peers if peer.ip_block is not None)
    if ranges:
        yield RuleDraft(Action.ACCEPT, ranges, ports, where)


def _ports(ports: tuple[PolicyPort, ...]) -> PortsDraft:
    if not ports:
        return EVERY_PORT
    ranges: dict[Protocol, list[Range]] = defaultdict(list)
    named: set[NamedRef] = set()
    for port in ports:
        if port.protocol not in PROTOCOLS:
            continue
        if isinstance(port.port, str):
            named.add((port.protocol, port.port))
        else:
            ranges[Protocol[port.protocol]].append(_range(port.port, port.end_port))
    return PortsDraft(ports_of(ranges) if ranges else None, tuple(sorted(named)))


def _range(first: int | None, last: int | None) -> Range:
    return (0, 65535) if first is None else (first, last if last is not None else first)


def ports_of(ranges: dict[Protocol, list[Range]]) -> tuple[Ports, ...]:
    """Return the ports of each protocol, merged; a protocol of which these are all ports has no ranges."""
    result = []
    for protocol, wanted in sorted(ranges.items()):
        whole = merged(wanted)
        result.append(Ports(protocol, () if whole == ((0, 65535),) else whole))
    return tuple(result)


def _subject(subject: Subject) -> tuple[Terms, Terms] | None:
    if subject.namespaces is not None:
        return subject.namespaces.terms, ()
    if subject.pods is not None:
        return subject.pods.namespace_selector.terms, subject.pods.pod_selector.terms
    return None


def _cluster_rule(rule: ClusterRule, where: str) -> Iterator[RuleDraft]:
    """Yield one draft for each peer; what cannot be applied fails closed, as a whole."""
    action = _ACTIONS.get(rule.action)
    if action is None or not rule.known:
        if action is not Action.ACCEPT:
            yield RuleDraft(Action.DENY, None, EVERY_PORT, where)
        return
    ports = _cluster_ports(rule.protocols)
    for peer in rule.peers:
        target = _cluster_target(peer)
        if target:
            yield RuleDraft(action, target, ports, where)


_ACTIONS = {action.value: action for action in Action}


def _cluster_target(peer: ClusterPeer) -> PeerSelector | Ranges:
    return cluster_peer_selector(peer) or from_networks(peer.networks)


def _cluster_ports(protocols: Iterable[ClusterProtocol]) -> PortsDraft:
    ranges: dict[Protocol, list[Range]] = defaultdict(list)
    named: set[NamedRef] = set()
    for one in protocols:
        sides = {Protocol.TCP: one.tcp, Protocol.UDP: one.udp, Protocol.SCTP: one.sctp}
        for protocol, ports in sides.items():
            if ports is not None:
                ranges[protocol].append(_cluster_range(ports.destination_port))
        if one.destination_named_port:
            named.update((protocol, one.destination_named_port) for protocol in PROTOCOLS)
    if not ranges and not named:
        return EVERY_PORT
    return PortsDraft(ports_of(ranges) if ranges else None, tuple(sorted(named)))


def _cluster_range(port: ClusterPort | None) -> Range:
    if port is None:
        return (0, 65535)
    if port.range is not None:
        return (port.range.start, port.range.end)
    return (port.number or 0, port.number or 0)
