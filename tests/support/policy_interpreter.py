"""What a kernel that carries out a `Program` does with a connection: the program read literally, in Python.

It knows nothing of policies, labels or selectors: addresses, sets and rules alone, as the runtime has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from quilt_policy.program import Action, AddressSet, Chain, Peer, PodName, Program, Protocol, Rule, Scope
from quilt_policy.verdicts import Address, Connection

NUMBERS: Final = {protocol.name: protocol for protocol in Protocol}


@dataclass(frozen=True)
class Node:
    """What the runtime knows by itself: its pods' addresses, its own, and which addresses are pods'."""

    pods: Mapping[Address, PodName]
    own: frozenset[Address]
    is_pod: Callable[[Address], bool]


def permits(program: Program, node: Node, connection: Connection) -> tuple[bool, bool]:
    """Return whether the client's egress and the server's ingress are allowed, as far as this node judges."""
    client, server = connection.client, connection.server
    egress = ingress = True
    profile = program.pods.get(node.pods[client]) if client in node.pods else None
    if profile is not None and profile.egress:
        at_home = server in node.own
        itself = server in node.pods and node.pods[server] == profile.pod
        if not (at_home or itself) or profile.judge_self:
            chain = program.chains[profile.egress]
            egress = _judge(program, node, chain, server, connection, always=at_home or itself)
    profile = program.pods.get(node.pods[server]) if server in node.pods else None
    if profile is not None and profile.ingress and client not in node.own:
        itself = client in node.pods and node.pods[client] == profile.pod
        if not itself or profile.judge_self:
            chain = program.chains[profile.ingress]
            ingress = _judge(program, node, chain, client, connection, always=itself)
    return egress, ingress


def _judge(
    program: Program, node: Node, chain: Chain, other: Address, connection: Connection, *, always: bool
) -> bool:
    """Run a chain; `always` is what rules of NetworkPolicies cannot forbid."""

    def first(rules: Iterable[Rule]) -> Action:
        for rule in rules:
            if _is_peer(program.sets, node, rule.peer, other) and _has_port(rule, connection):
                return rule.action
        return Action.PASS

    decided = first(chain.admin)
    if decided is Action.PASS and chain.policies is not None:
        return always or first(chain.policies) is Action.ACCEPT
    if decided is Action.PASS:
        decided = first(chain.baseline)
    return decided is not Action.DENY


def _is_peer(sets: Mapping[str, AddressSet], node: Node, peer: Peer, other: Address) -> bool:
    if peer.scope is Scope.EVERY:
        return True
    if peer.scope is Scope.PODS:
        return node.is_pod(other)
    member = _is_member(sets[peer.name], other.packed)
    return member if peer.scope is Scope.MEMBERS else node.is_pod(other) and not member


def _is_member(held: AddressSet, address: bytes) -> bool:
    length = len(address)
    members = held.members.v4 if length == 4 else held.members.v6
    each = [members[at : at + length] for at in range(0, len(members), length)]
    if not held.ranges:
        return address in each
    return any(first <= address <= last for first, last in zip(each[::2], each[1::2], strict=True))


def _has_port(rule: Rule, connection: Connection) -> bool:
    if not rule.ports:
        return True
    protocol = NUMBERS.get(connection.protocol)
    for ports in rule.ports:
        if ports.protocol == protocol:
            return not ports.ranges or any(low <= connection.port <= high for low, high in ports.ranges)
    return False
