"""What of a ClusterNetworkPolicy this version cannot apply, as a condition of its status.

The API has no names for conditions and leaves them to each implementation; several may report on one policy,
so the name has our group in front.
"""

from __future__ import annotations

from collections.abc import Iterator

from quilt_crds.names import POLICY_ACCEPTED
from quilt_crds.wire import Condition, Wire
from quilt_policy.cluster_objects import ClusterNetworkPolicy, ClusterRule


class PolicyStatus(Wire, frozen=True):
    """status of a ClusterNetworkPolicy."""

    conditions: tuple[Condition, ...] = ()


class SeenPolicy(ClusterNetworkPolicy, frozen=True):
    """A ClusterNetworkPolicy with its status."""

    status: PolicyStatus = PolicyStatus()


def accepted(policy: ClusterNetworkPolicy) -> Condition:
    """Return whether all of a policy is applied, and if not what becomes of the rest."""
    problems = list(_problems(policy))
    if not problems:
        return Condition(POLICY_ACCEPTED, "True", "Accepted", "every rule is applied")
    return Condition(POLICY_ACCEPTED, "False", "Unsupported", "; ".join(problems))


def _problems(policy: ClusterNetworkPolicy) -> Iterator[str]:
    subject = policy.spec.subject
    if subject.namespaces is None and subject.pods is None:
        yield "the subject is of a kind that is not supported: the policy holds for no pod"
    for direction, rules in (("ingress", policy.spec.ingress), ("egress", policy.spec.egress)):
        for number, rule in enumerate(rules):
            if not rule.known:
                named = f"{direction}[{number}]" + (f" ({rule.name})" if rule.name else "")
                yield f"{named}: {_unknown(rule)} not supported: {_instead(rule)}"


def _unknown(rule: ClusterRule) -> str:
    if any(peer.domain_names for peer in rule.peers):
        return "domainNames are"
    if not all(peer.known for peer in rule.peers):
        return "a peer of this kind is"
    return "a protocol of this kind is"


def _instead(rule: ClusterRule) -> str:
    return "it accepts nothing" if rule.action == "Accept" else "it denies all connections"
