"""Programs of network policies for tests: a few words each."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

from quilt_policy.program import (
    Action,
    AddressSet,
    Chain,
    Direction,
    Members,
    Peer,
    PodName,
    Ports,
    Profile,
    Program,
    Protocol,
    Rule,
    Scope,
)
from quilt_proto import policy_pb2 as pb
from quilt_runtime.core.policy import Ground

GROUND = Ground(24, (IPv4Network("10.42.0.0/16"),))
GROUND6 = Ground(24, (IPv4Network("10.42.0.0/16"),), (IPv6Network("fd42:42::/48"),), 64)
UID = "0b5e4a7e-7d43-4c1f-9d1c-2d5a6f4c8e11"
_ACTIONS = {Action.ACCEPT: pb.ACCEPT, Action.DENY: pb.DENY, Action.PASS: pb.PASS}
_SCOPES = {Scope.EVERY: pb.EVERY, Scope.PODS: pb.PODS, Scope.MEMBERS: pb.MEMBERS, Scope.OTHERS: pb.OTHERS}


def pod(name: str, uid: str = UID) -> PodName:
    return PodName("default", name, uid)


def rule(name: str = "", *ports: Ports, action: Action = Action.ACCEPT, scope: Scope | None = None) -> Rule:
    """A rule about the members of a set, or about everybody without one."""
    default = Scope.MEMBERS if name else Scope.EVERY
    return Rule(action, Peer(scope or default, name), ports, f"default/{name or 'all'}")


def tcp(*numbers: int) -> Ports:
    return Ports(Protocol.TCP, tuple((number, number) for number in numbers))


def udp(*numbers: int) -> Ports:
    return Ports(Protocol.UDP, tuple((number, number) for number in numbers))


def ingress(name: str, *rules: Rule, admin: tuple[Rule, ...] = ()) -> Chain:
    return Chain(name, Direction.INGRESS, admin, rules)


def egress(name: str, *rules: Rule, admin: tuple[Rule, ...] = ()) -> Chain:
    return Chain(name, Direction.EGRESS, admin, rules)


def members(*addresses: str) -> Members:
    packed = sorted(ip_address(text).packed for text in addresses)
    return Members(*(b"".join(one for one in packed if len(one) == size) for size in (4, 16)))


def address_set(name: str, *addresses: str) -> AddressSet:
    return AddressSet(name, members(*addresses))


def ranges(name: str, *ends: tuple[str, str]) -> AddressSet:
    """A set of ranges, each by its first and last address."""
    return AddressSet(name, members(*(text for pair in ends for text in pair)), ranges=True)


def program(*parts: Chain | AddressSet | Profile) -> Program:
    return Program(
        {part.name: part for part in parts if isinstance(part, Chain)},
        {part.name: part for part in parts if isinstance(part, AddressSet)},
        {part.pod: part for part in parts if isinstance(part, Profile)},
    )


def message(wanted: Program) -> pb.PolicyProgram:
    return pb.PolicyProgram(
        chains=map(chain_message, wanted.chains.values()),
        sets=map(set_message, wanted.sets.values()),
        pods=map(profile_message, wanted.pods.values()),
    )


def chain_message(chain: Chain) -> pb.PolicyChain:
    made = pb.PolicyChain(name=chain.name, egress=chain.direction is Direction.EGRESS)
    made.admin.rules.extend(map(_rule_message, chain.admin))
    made.baseline.rules.extend(map(_rule_message, chain.baseline))
    if chain.policies is not None:
        made.policies.SetInParent()
        made.policies.rules.extend(map(_rule_message, chain.policies))
    return made


def set_message(one: AddressSet) -> pb.AddressSet:
    return pb.AddressSet(name=one.name, v4=one.members.v4, v6=one.members.v6, ranges=one.ranges)


def profile_message(profile: Profile) -> pb.PodProfile:
    return pb.PodProfile(
        pod=pod_message(profile.pod),
        ingress=profile.ingress,
        egress=profile.egress,
        judge_self=profile.judge_self,
    )


def pod_message(one: PodName) -> pb.PodName:
    return pb.PodName(namespace=one.namespace, name=one.name, uid=one.uid)


def _rule_message(one: Rule) -> pb.PolicyRule:
    ports = [
        pb.ProtocolPorts(
            protocol=each.protocol,
            ranges=[pb.PortRange(first=first, last=last) for first, last in each.ranges],
        )
        for each in one.ports
    ]
    return pb.PolicyRule(
        action=_ACTIONS[one.action],
        scope=_SCOPES[one.peer.scope],
        set=one.peer.name,
        ports=ports,
        origin=one.origin,
    )
