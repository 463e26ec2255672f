"""What a node enforces, as the runtime is sent it: values of quilt_policy into messages of policy.proto."""

from __future__ import annotations

from collections.abc import Iterable

from quilt_policy.change import Change, MembersChange
from quilt_policy.program import Action, AddressSet, Chain, Direction, PodName, Profile, Program, Rule, Scope
from quilt_proto import policy_pb2

_ACTIONS = {Action.ACCEPT: policy_pb2.ACCEPT, Action.DENY: policy_pb2.DENY, Action.PASS: policy_pb2.PASS}
_SCOPES = {
    Scope.EVERY: policy_pb2.EVERY,
    Scope.PODS: policy_pb2.PODS,
    Scope.MEMBERS: policy_pb2.MEMBERS,
    Scope.OTHERS: policy_pb2.OTHERS,
}


def program(value: Program) -> policy_pb2.PolicyProgram:
    """Return everything that is to be enforced, as a message."""
    return policy_pb2.PolicyProgram(
        chains=map(_chain, value.chains.values()),
        sets=map(_set, value.sets.values()),
        pods=map(_profile, value.pods.values()),
    )


def change(value: Change) -> policy_pb2.PolicyChange:
    """Return a change, as a message."""
    return policy_pb2.PolicyChange(
        sets=map(_set, value.sets),
        members=map(_members, value.members),
        chains=map(_chain, value.chains),
        pods=map(_profile, value.pods),
        gone_pods=map(_pod, value.gone_pods),
        gone_chains=value.gone_chains,
        gone_sets=value.gone_sets,
    )


def _chain(chain: Chain) -> policy_pb2.PolicyChain:
    message = policy_pb2.PolicyChain(
        name=chain.name,
        egress=chain.direction is Direction.EGRESS,
        admin=_rules(chain.admin),
        baseline=_rules(chain.baseline),
    )
    if chain.policies is not None:
        message.policies.CopyFrom(_rules(chain.policies))
    return message


def _rules(rules: Iterable[Rule]) -> policy_pb2.PolicyRules:
    return policy_pb2.PolicyRules(rules=map(_rule, rules))


def _rule(rule: Rule) -> policy_pb2.PolicyRule:
    ports = (
        policy_pb2.ProtocolPorts(
            protocol=one.protocol,
            ranges=[policy_pb2.PortRange(first=first, last=last) for first, last in one.ranges],
        )
        for one in rule.ports
    )
    return policy_pb2.PolicyRule(
        action=_ACTIONS[rule.action],
        scope=_SCOPES[rule.peer.scope],
        set=rule.peer.name,
        ports=ports,
        origin=rule.origin,
    )


def _set(value: AddressSet) -> policy_pb2.AddressSet:
    held = value.members
    return policy_pb2.AddressSet(name=value.name, v4=held.v4, v6=held.v6, ranges=value.ranges)


def _members(value: MembersChange) -> policy_pb2.SetMembers:
    return policy_pb2.SetMembers(
        name=value.name,
        add_v4=value.add.v4,
        add_v6=value.add.v6,
        remove_v4=value.remove.v4,
        remove_v6=value.remove.v6,
    )


def _pod(pod: PodName) -> policy_pb2.PodName:
    return policy_pb2.PodName(namespace=pod.namespace, name=pod.name, uid=pod.uid)


def _profile(profile: Profile) -> policy_pb2.PodProfile:
    return policy_pb2.PodProfile(
        pod=_pod(profile.pod),
        ingress=profile.ingress,
        egress=profile.egress,
        judge_self=profile.judge_self,
    )
