"""What policy.networking.k8s.io/v1beta1 demands, rule by rule, of evaluator and program alike."""

from __future__ import annotations

from typing import Any

import pytest

from quilt_policy.verdicts import Reason
from tests.support.policy_examples import ask, cluster_policy, pod, policy, scene

EVERYBODY = {"namespaces": {}}
RED = {"namespaces": {"matchLabels": {"team": "red"}}}
PODS = (pod("p0"), pod("p1", "other", node="n2"))
LABELS: dict[str, dict[str, str]] = {"shop": {}, "other": {"team": "red"}}


def rule(action: str, peer: dict[str, Any], side: str = "from", **more: Any) -> dict[str, Any]:
    return {"action": action, side: [peer], **more}


def test_admin_comes_before_policies() -> None:
    closed = policy("closed", ingress=[])
    accepting = cluster_policy("a", ingress=[rule("Accept", RED)])
    verdict = ask(scene(*PODS, closed, accepting, **LABELS), "p1", "p0")
    assert verdict.ingress.origin == "ClusterNetworkPolicy/a ingress 0"
    denying = cluster_policy("d", ingress=[rule("Deny", RED)])
    assert not ask(scene(*PODS, policy("open", ingress=[{}]), denying, **LABELS), "p1", "p0").allowed


def test_passing_leaves_it_to_policies_and_then_to_nobody() -> None:
    passing = cluster_policy("a", priority=1, ingress=[rule("Pass", RED)])
    denying = cluster_policy("b", priority=2, ingress=[rule("Deny", EVERYBODY)])
    assert ask(scene(*PODS, passing, denying, **LABELS), "p1", "p0").allowed
    closed = policy("closed", ingress=[])
    verdict = ask(scene(*PODS, passing, denying, closed, **LABELS), "p1", "p0")
    assert verdict.ingress.reason is Reason.ISOLATED


def test_baseline_is_asked_only_of_pods_that_no_policy_selects_in_that_direction() -> None:
    baseline = cluster_policy(
        "b",
        tier="Baseline",
        ingress=[rule("Deny", EVERYBODY)],
        egress=[rule("Deny", EVERYBODY, "to")],
    )
    of_egress = policy("open", policyTypes=["Egress"], egress=[{}])
    found = scene(*PODS, baseline, of_egress, **LABELS)
    assert ask(found, "p0", "p1").egress.allowed
    assert ask(found, "p1", "p0").ingress.origin == "ClusterNetworkPolicy/b ingress 0"
    assert not ask(found, "p1", "p0").egress.allowed


def test_a_passing_baseline_rule_allows() -> None:
    passing = cluster_policy("a", tier="Baseline", priority=0, ingress=[rule("Pass", RED)])
    denying = cluster_policy("b", tier="Baseline", priority=1, ingress=[rule("Deny", EVERYBODY)])
    assert ask(scene(*PODS, passing, denying, **LABELS), "p1", "p0").allowed


@pytest.mark.parametrize(("accept", "deny", "allowed"), [(0, 1, True), (1, 0, False), (9, 10, True)])
def test_the_lower_priority_comes_first(accept: int, deny: int, *, allowed: bool) -> None:
    one = cluster_policy("z", priority=accept, ingress=[rule("Accept", RED)])
    other = cluster_policy("a", priority=deny, ingress=[rule("Deny", RED)])
    assert ask(scene(*PODS, one, other, **LABELS), "p1", "p0").allowed is allowed


def test_policies_of_one_priority_all_apply() -> None:
    """The conformance suite's CNPAdminTierSamePriority."""
    one = cluster_policy("a", ingress=[rule("Deny", RED, protocols=[{"tcp": {}}])])
    other = cluster_policy("b", ingress=[rule("Deny", RED, protocols=[{"udp": {}}])])
    found = scene(*PODS, one, other, **LABELS)
    assert not ask(found, "p1", "p0", "TCP").allowed
    assert not ask(found, "p1", "p0", "UDP").allowed
    assert ask(found, "p1", "p0", "SCTP").allowed


def test_rules_hold_in_their_order() -> None:
    ordered = cluster_policy("a", ingress=[rule("Accept", RED), rule("Deny", EVERYBODY)])
    assert ask(scene(*PODS, ordered, **LABELS), "p1", "p0").ingress.rule == 0


def test_subjects_are_pods_by_labels() -> None:
    of_web = {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}}
    denying = cluster_policy("d", subject=of_web, ingress=[rule("Deny", EVERYBODY)])
    pods = (pod("p0", labels={"app": "web"}), pod("p1"), pod("p2", host_network=True))
    found = scene(*pods, denying)
    assert not ask(found, "p1", "p0").allowed
    assert ask(found, "p0", "p1").allowed
    nobody = cluster_policy("d", subject={"later": {}}, ingress=[rule("Deny", EVERYBODY)])
    assert ask(scene(*pods, nobody), "p1", "p0").allowed


@pytest.mark.parametrize(
    ("action", "allowed"), [("Accept", True), ("Deny", False), ("Pass", False), ("Later", False)]
)
def test_what_is_not_known_fails_closed(action: str, *, allowed: bool) -> None:
    """A rule that accepts then matches nothing, the others deny everything, as the API's text has it."""
    for peer in ({"later": {}}, {"domainNames": ["example.org"]}):
        unknown = cluster_policy("u", egress=[{"action": action, "to": [peer, EVERYBODY]}])
        verdict = ask(scene(*PODS, unknown, **LABELS), "p0", "p1")
        assert verdict.egress.allowed is allowed
        assert (verdict.egress.reason is Reason.NOT_ISOLATED) is allowed
    networks = cluster_policy("u", ingress=[{"action": action, "from": [{"networks": ["0.0.0.0/0"]}]}])
    assert ask(scene(*PODS, networks, **LABELS), "p1", "p0").ingress.allowed is allowed
    protocols = [{"later": {}}, {"tcp": {}}]
    unknown = cluster_policy("u", ingress=[rule(action, EVERYBODY, protocols=protocols)])
    assert ask(scene(*PODS, unknown, **LABELS), "p1", "p0").ingress.allowed is allowed


def test_networks_match_pods_and_every_protocol() -> None:
    denying = cluster_policy("n", egress=[rule("Deny", {"networks": ["10.42.2.0/24"]}, "to")])
    found = scene(*PODS, denying, **LABELS)
    own, other = (str(found.addresses(name)[0]) for name in ("p0", "p1"))
    assert not ask(found, own, other).allowed
    assert not ask(found, own, other, "ICMP", 0).allowed
    assert ask(found, own, "198.51.100.7").allowed


def test_nodes_are_their_addresses_and_their_own_node_is_among_them() -> None:
    denying = cluster_policy("n", egress=[rule("Deny", {"nodes": {"matchLabels": {"zone": "east"}}}, "to")])
    found = scene(*PODS, denying, **LABELS)
    found.nodes["n1"] = found.nodes["n2"] = {"zone": "east"}
    for address in ("192.168.0.2", "10.42.2.0", "10.42.2.1", "192.168.0.1", "10.42.1.1"):
        assert not ask(found, "p0", address).egress.allowed
    assert ask(found, "p0", "192.168.0.3").egress.allowed


def test_what_is_sent_to_the_own_node_is_no_matter_of_network_policies() -> None:
    closed = policy("closed", policyTypes=["Egress"])
    other = cluster_policy("n", egress=[rule("Deny", {"networks": ["198.51.100.0/24"]}, "to")])
    found = scene(*PODS, closed, other, **LABELS)
    assert ask(found, "p0", "10.42.1.1").egress.reason is Reason.OWN_NODE
    assert not ask(found, "p0", "192.168.0.2").allowed


def test_a_pod_behind_a_service_of_its_own_is_judged_by_cluster_policies() -> None:
    """Preferred by the API ("hairpin"); NetworkPolicies never forbid it."""
    denying = cluster_policy("d", ingress=[rule("Deny", EVERYBODY)])
    assert not ask(scene(*PODS, denying, **LABELS), "p0", "p0").allowed
    other = cluster_policy("d", ingress=[rule("Deny", RED)])
    found = scene(*PODS, other, policy("closed", policyTypes=["Ingress", "Egress"]), **LABELS)
    assert ask(found, "p0", "p0").allowed


def test_ports_by_number_range_and_name() -> None:
    protocols = [
        {"tcp": {"destinationPort": {"number": 80}}},
        {"udp": {"destinationPort": {"range": {"start": 10, "end": 20}}}},
        {"destinationNamedPort": "dns"},
    ]
    pods = (pod("p0", ports=[("dns", "SCTP", 53)]), pod("p1", "other"))
    denied = [("TCP", 80), ("UDP", 10), ("UDP", 20), ("SCTP", 53)]
    allowed = [("TCP", 81), ("UDP", 80), ("UDP", 9), ("UDP", 21), ("TCP", 53), ("ICMP", 0)]
    of_ingress = cluster_policy("d", ingress=[rule("Deny", EVERYBODY, protocols=protocols)])
    of_egress = cluster_policy("d", egress=[rule("Deny", EVERYBODY, "to", protocols=protocols)])
    for one in (of_ingress, of_egress):
        found = scene(*pods, one, **LABELS)
        assert not any(ask(found, "p1", "p0", *ports).allowed for ports in denied)
        assert all(ask(found, "p1", "p0", *ports).allowed for ports in allowed)


def test_a_pod_starts_when_the_addresses_that_it_is_denied_are_known() -> None:
    """trap 12: without them a denial denies nobody. One that runs is not cut off for that."""
    found = scene(*PODS, cluster_policy("d", ingress=[rule("Deny", RED)]), **LABELS)
    for connected in (False, True):
        found.connected = {"p0"} if connected else set()
        compiler = found.compiled()
        assert (found.pods["p0"].key in compiler.program().pods) is connected
        assert bool(compiler.withheld) is not connected
        found.report(compiler, compiler.selectors)
        assert found.pods["p0"].key in compiler.program().pods
        found.known.clear()
    accepting = scene(*PODS, policy("a", ingress=[{"from": [{"podSelector": {}}]}]), **LABELS)
    accepting.connected.clear()
    assert accepting.pods["p0"].key in accepting.compiled().program().pods, "it accepts nobody: fails closed"
