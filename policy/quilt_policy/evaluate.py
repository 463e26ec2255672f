"""What the API demands of one connection, and which rule demands it: the reference that all else is held to.

Written from the texts of networking.k8s.io/v1 (types.go and "Network Policies" of the documentation) and of
policy.networking.k8s.io/v1beta1, and of nothing that compiles: all is looked at again for each question.
"""

from __future__ import annotations

from quilt_policy.evaluate_cluster import is_subject, tier
from quilt_policy.objects import EgressRule, IngressRule, IPBlock, NetworkPolicy, Pod, PolicyPeer, PolicyPort
from quilt_policy.program import Direction
from quilt_policy.verdicts import (
    Address,
    Connection,
    Decision,
    Reason,
    Side,
    Verdict,
    World,
    in_network,
    name_of,
)


def evaluate(world: World, connection: Connection) -> Verdict:
    """Return whether a connection is allowed, and what decides that in either direction."""
    return Verdict(
        _decide(world, connection, Direction.EGRESS, connection.client),
        _decide(world, connection, Direction.INGRESS, connection.server),
    )


def _decide(world: World, connection: Connection, direction: Direction, own: Address) -> Decision:
    """Ask the tiers in order: Admin, then NetworkPolicies or, where none selects the pod, Baseline."""
    pod = world.pods.get(own)
    if pod is None:
        return Decision(direction, True, Reason.NO_POD)
    side = Side(world, connection, direction, pod)
    if side.own_node and direction is Direction.INGRESS:
        return side.says(Reason.OWN_NODE)
    above = [one for one in world.cluster_policies if is_subject(world, one, pod)]
    above.sort(key=lambda one: (one.spec.priority, one.name))
    decided = tier(side, (one for one in above if one.spec.tier == "Admin"))
    if decided is not None:
        return decided
    isolating = [one for one in world.policies if _isolates(one, pod, direction)]
    if isolating:
        return _policies(side, isolating)
    decided = tier(side, (one for one in above if one.spec.tier == "Baseline"))
    return decided or side.says(Reason.NOT_ISOLATED)


# NetworkPolicy


def _isolates(policy: NetworkPolicy, pod: Pod, direction: Direction) -> bool:
    spec = policy.spec
    if policy.namespace != pod.namespace or not spec.pod_selector.matches(pod.labels):
        return False
    if spec.policy_types:
        return direction.value in spec.policy_types
    return direction is Direction.INGRESS or bool(spec.egress)


def _policies(side: Side, isolating: list[NetworkPolicy]) -> Decision:
    """A pod that is isolated may do what any rule of any policy that selects it allows."""
    if side.own_node:
        return side.says(Reason.OWN_NODE)
    if side.itself:
        return side.says(Reason.ITSELF)
    for policy in sorted(isolating, key=lambda one: one.name):
        spec = policy.spec
        ingress = side.direction is Direction.INGRESS
        rules: tuple[IngressRule | EgressRule, ...] = spec.ingress if ingress else spec.egress
        for number, rule in enumerate(rules):
            if _rule_matches(side, policy.namespace, rule):
                return Decision(side.direction, True, Reason.RULE, (name_of(policy),), number)
    return side.says(Reason.ISOLATED, sorted(map(name_of, isolating)), allowed=False)


def _rule_matches(side: Side, namespace: str, rule: IngressRule | EgressRule) -> bool:
    peers = rule.from_ if isinstance(rule, IngressRule) else rule.to
    return (not peers or any(_peer_matches(side, namespace, peer) for peer in peers)) and (
        not rule.ports or any(_port_matches(side, port) for port in rule.ports)
    )


def _peer_matches(side: Side, namespace: str, peer: PolicyPeer) -> bool:
    if peer.ip_block is not None:
        return any(_in_block(address, peer.ip_block) for address in side.aliases)
    pod = side.peer
    if pod is None or (peer.pod_selector is None and peer.namespace_selector is None):
        return False
    if peer.namespace_selector is None:
        if pod.namespace != namespace:
            return False
    elif not peer.namespace_selector.matches(side.world.namespaces.get(pod.namespace, {})):
        return False
    return peer.pod_selector is None or peer.pod_selector.matches(pod.labels)


def _in_block(address: Address, block: IPBlock) -> bool:
    try:
        return in_network(address, block.cidr) and not any(in_network(address, one) for one in block.except_)
    except ValueError:
        return False


def _port_matches(side: Side, port: PolicyPort) -> bool:
    if port.protocol != side.connection.protocol:
        return False
    if port.port is None:
        return True
    if isinstance(port.port, str):
        return port.port in side.has_port
    last = port.end_port if port.end_port is not None else port.port
    return port.port <= side.connection.port <= last
