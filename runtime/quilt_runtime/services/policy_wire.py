"""What comes over the wire as values of quilt_policy, checked: parts of it become text of nftables.

Every function raises RequestError for what is not valid, with its name.
"""

from __future__ import annotations

import re

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
from quilt_runtime.core import packed
from quilt_runtime.core.errors import RequestError

NAME = re.compile(r"[a-z0-9_]{1,20}")
ORIGIN = re.compile(r"[ !#-\[\]-~]{0,128}")
_ACTIONS = {pb.ACCEPT: Action.ACCEPT, pb.DENY: Action.DENY, pb.PASS: Action.PASS}
_SCOPES = {pb.EVERY: Scope.EVERY, pb.PODS: Scope.PODS, pb.MEMBERS: Scope.MEMBERS, pb.OTHERS: Scope.OTHERS}
_OF_SETS = frozenset({Scope.MEMBERS, Scope.OTHERS})


def program(message: pb.PolicyProgram) -> Program:
    """Return all that is to be enforced."""
    return _consistent(
        Program(
            {one.name: one for one in map(_chain, message.chains)},
            {one.name: one for one in map(_address_set, message.sets)},
            {one.pod: one for one in map(_profile, message.pods)},
        )
    )


def changed(held: Program, message: pb.PolicyChange) -> Program:
    """Return a program after a change."""
    sets = {**held.sets, **{one.name: one for one in map(_address_set, message.sets)}}
    for delta in message.members:
        if (one := sets.get(delta.name)) is None or one.ranges:
            raise RequestError(f"Members of {delta.name[:64]!r}: there is no such set, or it is of ranges")
        sets[delta.name] = AddressSet(one.name, _changed_members(one.members, delta))
    chains = {**held.chains, **{one.name: one for one in map(_chain, message.chains)}}
    pods = {**held.pods, **{one.pod: one for one in map(_profile, message.pods)}}
    for pod in map(_pod, message.gone_pods):
        pods.pop(pod, None)
    for name in message.gone_chains:
        chains.pop(name, None)
    for name in message.gone_sets:
        sets.pop(name, None)
    return _consistent(Program(chains, sets, pods))


def _consistent(made: Program) -> Program:
    """Return a program whose chains and sets are all there; raises RequestError for another one."""
    for chain in made.chains.values():
        for rule in (*chain.admin, *(chain.policies or ()), *chain.baseline):
            if rule.peer.scope in _OF_SETS and rule.peer.name not in made.sets:
                raise RequestError(f"Chain {chain.name} refers to set {rule.peer.name}, which is not there")
    for profile in made.pods.values():
        ends = ((profile.ingress, Direction.INGRESS), (profile.egress, Direction.EGRESS))
        for name, direction in ends:
            if name and (name not in made.chains or made.chains[name].direction is not direction):
                pod = f"{profile.pod.namespace}/{profile.pod.name}"
                raise RequestError(f"Pod {pod} is held to {direction.value} chain {name}, which is not there")
    return made


def _chain(message: pb.PolicyChain) -> Chain:
    return Chain(
        _name("Chain", message.name),
        Direction.EGRESS if message.egress else Direction.INGRESS,
        tuple(map(_rule, message.admin.rules)),
        tuple(map(_accepting, message.policies.rules)) if message.HasField("policies") else None,
        tuple(map(_rule, message.baseline.rules)),
    )


def _accepting(message: pb.PolicyRule) -> Rule:
    if message.action != pb.ACCEPT:
        raise RequestError(f"Rule {message.origin[:64]!r}: NetworkPolicies only accept")
    return _rule(message)


def _rule(message: pb.PolicyRule) -> Rule:
    if message.action not in _ACTIONS or message.scope not in _SCOPES:
        raise RequestError(f"Rule {message.origin[:64]!r} has no action or peer that this runtime knows")
    if not ORIGIN.fullmatch(message.origin):
        raise RequestError(f"Origin {message.origin[:64]!r} of a rule is too long or not printable")
    scope = _SCOPES[message.scope]
    peer = Peer(scope, _name("Set", message.set) if scope in _OF_SETS else "")
    return Rule(_ACTIONS[message.action], peer, tuple(map(_ports, message.ports)), message.origin)


def _ports(message: pb.ProtocolPorts) -> Ports:
    try:
        protocol = Protocol(message.protocol)
    except ValueError as error:
        raise RequestError(f"Protocol {message.protocol} has no ports that are known here") from error
    ranges = sorted((one.first, one.last) for one in message.ranges)
    behind = -1
    for first, last in ranges:
        if not behind < first <= last <= 65535:
            raise RequestError(f"Ports {first}-{last} are no range, or overlap with others of their rule")
        behind = last
    return Ports(protocol, tuple(ranges))


def _address_set(message: pb.AddressSet) -> AddressSet:
    name = _name("Set", message.name)
    make = _ranges if message.ranges else _addresses
    return AddressSet(name, Members(make(name, message.v4, 4), make(name, message.v6, 16)), message.ranges)


def _changed_members(held: Members, delta: pb.SetMembers) -> Members:
    found = []
    for data, size, add, remove in (
        (held.v4, 4, delta.add_v4, delta.remove_v4),
        (held.v6, 16, delta.add_v6, delta.remove_v6),
    ):
        found.append(packed.changed(data, size, _cut(delta.name, add, size), _cut(delta.name, remove, size)))
    return Members(*found)


def _addresses(name: str, data: bytes, size: int) -> bytes:
    return packed.pack(_cut(name, data, size))


def _ranges(name: str, data: bytes, size: int) -> bytes:
    ends = [(pair[:size], pair[size:]) for pair in _cut(name, data, 2 * size)]
    if any(first > last for first, last in ends):
        raise RequestError(f"Set {name} has a range that ends before it begins")
    return packed.joined(ends)


def _cut(name: str, data: bytes, size: int) -> list[bytes]:
    try:
        return packed.cut(data, size)
    except ValueError as error:
        raise RequestError(f"Set {name}: {error}") from error


def _profile(message: pb.PodProfile) -> Profile:
    ingress, egress = (text and _name("Chain", text) for text in (message.ingress, message.egress))
    return Profile(_pod(message.pod), ingress, egress, message.judge_self)


def _pod(message: pb.PodName) -> PodName:
    if not (message.namespace and message.name and message.uid):
        raise RequestError("A pod has a namespace, a name and a uid")
    return PodName(message.namespace, message.name, message.uid)


def _name(what: str, text: str) -> str:
    if not NAME.fullmatch(text):
        raise RequestError(f"{what} name {text[:64]!r} is not at most 20 characters of [a-z0-9_]")
    return text
