"""What a policy says, once for all pods: rules before it is known which addresses and ports they mean.

A draft depends on the policy alone. `linking` makes rules of drafts for one pod. Parts that are equal are
mostly one object: thousands of policies differ in little but their names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

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


@dataclass(frozen=True, slots=True)
class RuleDraft:
    """A rule of one peer; `number` is the rule's index in the policy."""

    number: int
    action: Action
    target: Target
    ports: PortsDraft


Rules: TypeAlias = tuple[RuleDraft, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PolicyDraft:
    """A NetworkPolicy: which pods of its namespace it selects, and its rules.

    Those of a direction in which it isolates nobody are None.
    """

    namespace: str
    name: str
    pods: Terms
    ingress: Rules | None
    egress: Rules | None

    @property
    def title(self) -> str:
        """What people call it, made when it is asked for: there may be thousands."""
        return f"{self.namespace}/{self.name}"

    def rules(self, direction: Direction) -> Rules | None:
        """Return those of a direction."""
        return self.ingress if direction is Direction.INGRESS else self.egress


@dataclass(frozen=True, slots=True, eq=False)
class ClusterDraft:
    """A ClusterNetworkPolicy; `order` sorts those of a tier. A direction without rules has none."""

    title: str
    order: tuple[int, str]
    admin: bool
    subject: tuple[Terms, Terms] | None
    ingress: Rules
    egress: Rules

    def rules(self, direction: Direction) -> Rules:
        """Return those of a direction."""
        return self.ingress if direction is Direction.INGRESS else self.egress


EVERY_PORT = PortsDraft()

T = TypeVar("T", bound=Hashable)


def _shared(value: T) -> T:
    """Return an equal object that was seen lately, if there is one."""
    found: T = _seen(value)
    return found


@lru_cache(maxsize=4096)
def _seen(value: Hashable) -> Any:
    return value


def draft(policy: NetworkPolicy) -> PolicyDraft:
    """Return what a NetworkPolicy says."""
    spec, types = policy.spec, policy.types
    return PolicyDraft(
        namespace=policy.namespace,
        name=policy.name,
        pods=_shared(spec.pod_selector.terms),
        ingress=_rules(policy.namespace, spec.ingress) if "Ingress" in types else None,
        egress=_rules(policy.namespace, spec.egress) if "Egress" in types else None,
    )


def draft_cluster(policy: ClusterNetworkPolicy) -> ClusterDraft:
    """Return what a ClusterNetworkPolicy says."""
    spec = policy.spec
    return ClusterDraft(
        title=f"ClusterNetworkPolicy/{policy.name}",
        order=(spec.priority, policy.name),
        admin=spec.tier == "Admin",
        subject=_subject(spec.subject),
        ingress=tuple(one for number, rule in enumerate(spec.ingress) for one in _cluster_rule(rule, number)),
        egress=tuple(one for number, rule in enumerate(spec.egress) for one in _cluster_rule(rule, number)),
    )


def _rules(namespace: str, rules: Iterable[IngressRule | EgressRule]) -> Rules:
    drafts = (one for number, rule in enumerate(rules) for one in _rule(namespace, rule, number))
    return _shared(tuple(drafts))


def _rule(namespace: str, rule: IngressRule | EgressRule, number: int) -> Iterator[RuleDraft]:
    """Yield one draft for each selector among the peers, and one for all blocks together."""
    ports = _shared(_ports(rule.ports))
    if not rule.peers:
        yield RuleDraft(number, Action.ACCEPT, None, ports)
        return
    for peer in rule.peers:
        selector = peer_selector(namespace, peer)
        if selector is not None:
            yield RuleDraft(number, Action.ACCEPT, _shared(selector), ports)
    blocks = [peer.ip_block for peer in rule.peers if peer.ip_block is not None]
    ranges = _shared(from_blocks(blocks)) if blocks else None
    if ranges:
        yield RuleDraft(number, Action.ACCEPT, ranges, ports)


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


def _cluster_rule(rule: ClusterRule, number: int) -> Iterator[RuleDraft]:
    """Yield one draft for each peer; what cannot be applied fails closed, as a whole."""
    action = _ACTIONS.get(rule.action)
    if action is None or not rule.known:
        if action is not Action.ACCEPT:
            yield RuleDraft(number, Action.DENY, None, EVERY_PORT)
        return
    ports = _cluster_ports(rule.protocols)
    for peer in rule.peers:
        target = _cluster_target(peer)
        if target:
            yield RuleDraft(number, action, target, ports)


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
