"""Which policies hold for a pod of this node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from quilt_policy.drafts import ClusterDraft, NamedRef, PolicyDraft, draft
from quilt_policy.labels import Terms, matches
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


@dataclass(frozen=True, slots=True)
class Selected:
    """The policies that isolate a pod, by direction; None where none does.

    `named` are the ports that those of ingress name.
    """

    isolating: dict[Direction, tuple[PolicyDraft, ...] | None]
    named: frozenset[NamedRef]


@dataclass(slots=True)
class _Namespace:
    """A namespace's policies by name, and what was found of them since."""

    policies: dict[str, PolicyDraft] = field(default_factory=dict)
    by_pods: dict[Terms, list[PolicyDraft]] = field(default_factory=dict)
    selected: dict[tuple[Terms, ...], Selected] = field(default_factory=dict)

    def put(self, name: str, policy: PolicyDraft | None) -> None:
        """Note a policy, or with None that it is gone."""
        if policy is None:
            self.policies.pop(name, None)
        else:
            self.policies[name] = policy
        self.by_pods.clear()
        self.selected.clear()

    def for_pod(self, labels: Mapping[str, str]) -> Selected:
        """Return the policies that select a pod with these labels; for equal policies the same object."""
        if not self.by_pods:
            for policy in self.policies.values():
                self.by_pods.setdefault(policy.pods, []).append(policy)
        matching = tuple(terms for terms in self.by_pods if matches(terms, labels))
        found = self.selected.get(matching)
        if found is None:
            found = self.selected[matching] = _selected(
                one for terms in matching for one in self.by_pods[terms]
            )
        return found


class Policies:
    """NetworkPolicies by namespace, drafted at once: a draft is smaller than what was read."""

    def __init__(self) -> None:
        self.pods_of: dict[str, set[PodName]] = {}
        self._namespaces: dict[str, _Namespace] = {}

    def put(self, namespace: str, name: str, policy: NetworkPolicy | None) -> None:
        """Note a policy, or with None that it is gone."""
        held = self._namespaces.setdefault(namespace, _Namespace())
        held.put(name, draft(policy) if policy is not None else None)
        if not held.policies:
            del self._namespaces[namespace]

    def leave(self, pod: PodName) -> None:
        """Note that a pod is gone."""
        pods = self.pods_of[pod.namespace]
        pods.discard(pod)
        if not pods:
            del self.pods_of[pod.namespace]

    def holds(
        self, pod: LocalPod, namespace_labels: Mapping[str, str], cluster_policies: Iterable[ClusterDraft]
    ) -> Iterator[Held]:
        """Yield what holds for a pod, one for each direction in which anything does."""
        namespace = self._namespaces.get(pod.name.namespace)
        selected = namespace.for_pod(pod.labels) if namespace is not None else _NOTHING
        above = sorted(
            (one for one in cluster_policies if _is_subject(one, namespace_labels, pod.labels)),
            key=lambda one: one.order,
        )
        for direction in Direction:
            ruling = [one for one in above if one.rules(direction)]
            policies = selected.isolating[direction]
            held = Held(
                direction,
                tuple(one for one in ruling if one.admin),
                policies,
                tuple(one for one in ruling if not one.admin) if policies is None else (),
                _own_ports(pod, selected, ruling) if direction is Direction.INGRESS else (),
            )
            if held:
                yield held


def _selected(policies: Iterable[PolicyDraft]) -> Selected:
    found = sorted(policies, key=lambda one: one.title)
    isolating = {
        direction: tuple(one for one in found if one.rules(direction) is not None) or None
        for direction in Direction
    }
    rules = (rule for one in isolating[Direction.INGRESS] or () for rule in one.ingress or ())
    return Selected(isolating, frozenset(ref for rule in rules for ref in rule.ports.named))


_NOTHING = _selected(())


def _is_subject(policy: ClusterDraft, namespace_labels: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    if policy.subject is None:
        return False
    namespaces, pods = policy.subject
    return matches(namespaces, namespace_labels) and matches(pods, labels)


def _own_ports(pod: LocalPod, selected: Selected, above: Iterable[ClusterDraft]) -> OwnPorts:
    """Return those of the pod's ports that a rule of ingress names; pods with the same can share a chain."""
    refs = {ref for policy in above for rule in policy.ingress for ref in rule.ports.named} | selected.named
    own: dict[NamedRef, set[int]] = {}
    for port in pod.ports:
        if (port.protocol, port.name) in refs:
            own.setdefault((port.protocol, port.name), set()).add(port.number)
    return tuple((ref, tuple(sorted(numbers))) for ref, numbers in sorted(own.items()))
