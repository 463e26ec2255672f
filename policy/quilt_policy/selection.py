"""Which policies hold for a pod of this node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from quilt_policy.drafts import ClusterDraft, PolicyDraft, RuleDraft, draft
from quilt_policy.labels import matches
from quilt_policy.linking import Held, OwnPorts
from quilt_policy.objects import NamedPort, NetworkPolicy
from quilt_policy.program import Direction, PodName


@dataclass(frozen=True, slots=True)
class LocalPod:
    """What policies see of a pod."""

    name: PodName
    labels: Mapping[str, str]
    ports: tuple[NamedPort, ...]
    connected: bool


class Policies:
    """NetworkPolicies by namespace; they are drafted in namespaces that have a pod here."""

    def __init__(self) -> None:
        self.pods_of: dict[str, set[PodName]] = {}
        self._policies: dict[str, dict[str, NetworkPolicy | PolicyDraft]] = {}

    def put(self, namespace: str, name: str, policy: NetworkPolicy | None) -> None:
        """Note a policy, or with None that it is gone."""
        policies = self._policies.setdefault(namespace, {})
        if policy is not None:
            policies[name] = policy
            return
        policies.pop(name, None)
        if not policies:
            del self._policies[namespace]

    def leave(self, pod: PodName) -> None:
        """Note that a pod is gone."""
        pods = self.pods_of[pod.namespace]
        pods.discard(pod)
        if not pods:
            del self.pods_of[pod.namespace]

    def drafts(self, namespace: str) -> list[PolicyDraft]:
        """Return the drafts of a namespace's policies, by name."""
        policies = self._policies.get(namespace, {})
        found = []
        for name in sorted(policies):
            policy = policies[name]
            if isinstance(policy, NetworkPolicy):
                policy = policies[name] = draft(policy)
            found.append(policy)
        return found


def holds(
    pod: LocalPod,
    namespace_labels: Mapping[str, str],
    policies: Iterable[PolicyDraft],
    cluster_policies: Iterable[ClusterDraft],
) -> Iterator[Held]:
    """Yield what holds for a pod, one for each direction in which anything does."""
    selecting = [policy for policy in policies if matches(policy.pods, pod.labels)]
    above = sorted(
        (one for one in cluster_policies if _subject(one, namespace_labels, pod.labels)),
        key=lambda one: one.order,
    )
    for direction in Direction:
        isolating = [policy.rules[direction] for policy in selecting if direction in policy.rules]
        held = Held(
            direction,
            _tier(above, direction, admin=True),
            tuple(rule for rules in isolating for rule in rules) if isolating else None,
            _tier(above, direction, admin=False) if not isolating else (),
        )
        if held:
            yield held if direction is Direction.EGRESS else _with_own_ports(held, pod)


def _subject(policy: ClusterDraft, namespace_labels: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    if policy.subject is None:
        return False
    namespaces, pods = policy.subject
    return matches(namespaces, namespace_labels) and matches(pods, labels)


def _tier(policies: Iterable[ClusterDraft], direction: Direction, *, admin: bool) -> tuple[RuleDraft, ...]:
    return tuple(
        rule for policy in policies if policy.admin is admin for rule in policy.rules.get(direction, ())
    )


def _with_own_ports(held: Held, pod: LocalPod) -> Held:
    """Return it with those of the pod's ports which a rule names, so that pods with equal ports share it."""
    tiers = (held.admin, held.policies or (), held.baseline)
    refs = {ref for rules in tiers for rule in rules for ref in rule.ports.named}
    own: OwnPorts = tuple(
        (ref, numbers)
        for ref in sorted(refs)
        if (
            numbers := tuple(sorted({port.number for port in pod.ports if (port.protocol, port.name) == ref}))
        )
    )
    return Held(held.direction, held.admin, held.policies, held.baseline, own)
