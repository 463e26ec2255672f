"""What policies there are, whom they hold for, and what decides about a connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import islice

import msgspec

from quilt_cli.core.addresses import published
from quilt_cli.core.finding import CannotTellError
from quilt_crds.names import POLICY_ACCEPTED
from quilt_crds.wire import Condition, QuiltNode, Wire, find_condition
from quilt_crds.wire_policy import QuiltEndpoints
from quilt_policy.cluster_objects import ClusterNetworkPolicy
from quilt_policy.evaluate import evaluate
from quilt_policy.evaluate_cluster import is_subject
from quilt_policy.objects import Namespace, NetworkPolicy, Node, Pod
from quilt_policy.program import Direction
from quilt_policy.verdicts import Connection, Decision, NodeFacts, Verdict, World, name_of

Address = IPv4Address | IPv6Address


class PolicyStatus(Wire, frozen=True):
    """status of a ClusterNetworkPolicy."""

    conditions: tuple[Condition, ...] = ()


class ClusterPolicy(ClusterNetworkPolicy, frozen=True):
    """A ClusterNetworkPolicy with its status."""

    status: PolicyStatus = PolicyStatus()


class Row(msgspec.Struct, frozen=True):
    """One policy; `pods` are those that it holds for and that have an address."""

    policy: str
    kind: str
    pods: int
    directions: tuple[str, ...]
    problem: str = ""


class Side(msgspec.Struct, frozen=True):
    """What decides in one direction: the policies, with the number of the rule if one decides.

    `node` is where that is enforced, `origin` what its kernel calls the rule, `packets` what it counted.
    """

    direction: str
    allowed: bool
    reason: str
    policies: tuple[str, ...] = ()
    rule: int | None = None
    node: str = ""
    origin: str = ""
    packets: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """Whether a connection is allowed, and what decides on either side."""

    client: str
    server: str
    protocol: str
    port: int
    allowed: bool
    egress: Side
    ingress: Side


def world(
    endpoints: Iterable[QuiltEndpoints],
    pods: Iterable[Pod],
    namespaces: Iterable[Namespace],
    policies: Iterable[NetworkPolicy],
    cluster_policies: Iterable[ClusterPolicy],
    nodes: tuple[Iterable[Node], Iterable[QuiltNode]],
) -> World:
    """Put together what verdicts depend on; pods have the addresses that their own nodes say they have."""
    mesh = tuple(nodes[1])
    bound = {(pod.node, pod.metadata.uid): pod for pod in pods if not pod.spec.host_network}
    return World(
        {
            ip_address(one.address): bound[node, one.uid]
            for node, one in published(endpoints, mesh)
            if (node, one.uid) in bound
        },
        {namespace.name: namespace.labels for namespace in namespaces},
        tuple(policies),
        tuple(cluster_policies),
        _nodes(nodes[0], mesh),
    )


def rows(about: World, policies: Iterable[ClusterPolicy]) -> list[Row]:
    """Return all policies, those of clusters first, in the order in which they are asked."""
    tiers = sorted(policies, key=lambda one: (one.spec.tier != "Admin", one.spec.priority, one.name))
    found = [
        Row(
            name_of(one),
            f"{one.spec.tier} {one.spec.priority}",
            sum(is_subject(about, one, pod) for pod in about.pods.values()),
            tuple(name for name, rules in _rules(one).items() if rules),
            _problem(one),
        )
        for one in tiers
    ]
    for policy in sorted(about.policies, key=lambda one: (one.namespace, one.name)):
        held = sum(_holds(policy, pod) for pod in about.pods.values())
        found.append(Row(name_of(policy), "NetworkPolicy", held, policy.types))
    return found


def explain(about: World, client: Address, server: Address, port: int, protocol: str) -> Answer:
    """Return what decides about a connection."""
    verdict: Verdict = evaluate(about, Connection(client, server, protocol, port))
    return Answer(
        _named(about, client),
        _named(about, server),
        protocol,
        port,
        verdict.allowed,
        _side(verdict.egress, about.pods.get(client)),
        _side(verdict.ingress, about.pods.get(server)),
    )


def address_of(about: World, named: str) -> Address:
    """Return an address that is given as such or as a pod's name, `namespace/name`; CannotTellError."""
    try:
        return ip_address(named)
    except ValueError:
        pass
    namespace, _, name = named.rpartition("/")
    wanted = (namespace or "default", name)
    for address, pod in about.pods.items():
        if (pod.namespace, pod.name) == wanted:
            return address
    raise CannotTellError(
        f"no pod {'/'.join(wanted)} has an address of the mesh\n"
        "    → `kubectl get quiltendpoints` shows who has; name pods as namespace/name"
    )


def _named(about: World, address: Address) -> str:
    pod = about.pods.get(address)
    return f"{pod.namespace}/{pod.name}" if pod is not None else str(address)


def _side(decision: Decision, pod: Pod | None) -> Side:
    return Side(
        decision.direction.value,
        decision.allowed,
        decision.reason.value,
        decision.policies,
        decision.rule,
        pod.node if pod is not None else "",
        decision.origin,
    )


def _holds(policy: NetworkPolicy, pod: Pod) -> bool:
    return policy.namespace == pod.namespace and policy.spec.pod_selector.matches(pod.labels)


def _rules(policy: ClusterNetworkPolicy) -> Mapping[str, object]:
    return {Direction.INGRESS.value: policy.spec.ingress, Direction.EGRESS.value: policy.spec.egress}


def _problem(policy: ClusterPolicy) -> str:
    condition = find_condition(policy.status.conditions, POLICY_ACCEPTED)
    return condition.message if condition is not None and condition.status == "False" else ""


def _nodes(nodes: Iterable[Node], mesh: Iterable[QuiltNode]) -> dict[str, NodeFacts]:
    members = {node.name: node for node in mesh}
    found = {}
    for node in nodes:
        known = members.get(node.name, QuiltNode())
        texts = filter(None, (*node.addresses, known.status.host_ip))
        inner = (address for cidr in known.status.subnets for address in _first_two(cidr))
        found[node.name] = NodeFacts(node.labels, frozenset(map(ip_address, texts)), frozenset(inner))
    return found


def _first_two(cidr: str) -> Iterator[Address]:
    """Yield the addresses of the VTEP and of the bridge."""
    yield from islice(ip_network(cidr), 2)
