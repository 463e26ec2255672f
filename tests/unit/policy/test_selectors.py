"""Selectors: what labels they match, and that what means the same has one name."""

from __future__ import annotations

import msgspec
import pytest

from quilt_policy.cluster_objects import ClusterNetworkPolicy
from quilt_policy.labels import LabelSelector, Requirement
from quilt_policy.objects import NetworkPolicy, Pod
from quilt_policy.selectors import PeerSelector, wanted, with_port


def selector(**fields: object) -> LabelSelector:
    return msgspec.convert(fields, LabelSelector)


@pytest.mark.parametrize(
    ("operator", "values", "labels", "matches"),
    [
        ("In", ("a", "b"), {"k": "b"}, True),
        ("In", ("a",), {"k": "b"}, False),
        ("In", ("a",), {}, False),
        ("NotIn", ("a",), {"k": "b"}, True),
        ("NotIn", ("a",), {"k": "a"}, False),
        ("NotIn", ("a",), {}, True),
        ("Exists", (), {"k": ""}, True),
        ("Exists", (), {}, False),
        ("DoesNotExist", (), {"k": ""}, False),
        ("DoesNotExist", (), {}, True),
        ("Perhaps", (), {"k": "a"}, False),
    ],
)
def test_operators(operator: str, values: tuple[str, ...], labels: dict[str, str], *, matches: bool) -> None:
    wanted_labels = LabelSelector(match_expressions=(Requirement("k", operator, values),))
    assert wanted_labels.matches(labels) is matches


def test_an_empty_selector_matches_everything() -> None:
    assert LabelSelector().matches({})
    assert LabelSelector().matches({"k": "a"})


def test_all_terms_have_to_hold() -> None:
    both = selector(matchLabels={"k": "a"}, matchExpressions=[{"key": "l", "operator": "Exists"}])
    assert both.matches({"k": "a", "l": ""})
    assert not both.matches({"k": "a"})


def test_what_means_the_same_has_one_hash() -> None:
    one = selector(matchLabels={"a": "1", "b": "2"})
    other = selector(
        matchExpressions=[
            {"key": "b", "operator": "In", "values": ["2", "2"]},
            {"key": "a", "operator": "In", "values": ["1"]},
        ]
    )
    assert PeerSelector(pods=one.terms) == PeerSelector(pods=other.terms)
    assert PeerSelector(pods=one.terms).hash == PeerSelector(pods=other.terms).hash
    assert PeerSelector(namespace="x", pods=one.terms).hash != PeerSelector(pods=one.terms).hash


def test_names_are_what_other_processes_compute() -> None:
    """The hash is an interface between releases: it must not change by accident."""
    of_web = PeerSelector(namespace="shop", pods=selector(matchLabels={"app": "web"}).terms)
    assert of_web.text == '{"namespace":"shop","pods":[["app","In",["web"]]]}'
    assert of_web.hash == "3b12030a33cb1024"
    assert of_web.set_name == "p_" + of_web.hash
    assert PeerSelector.parse(of_web.text) == of_web


def test_numbers_of_a_named_port_share_a_label() -> None:
    family = with_port(PeerSelector(namespace="shop"), "TCP", "http")
    number = family.with_number(8080)
    assert family.is_family
    assert not number.is_family
    assert number.label == family.label == family.hash != number.hash
    assert PeerSelector.parse(number.text).number == 8080


def test_any_pod_is_no_set() -> None:
    policy = msgspec.convert(
        {
            "metadata": {"name": "p", "namespace": "shop"},
            "spec": {
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [
                    {"from": [{"namespaceSelector": {}}, {"podSelector": {}}, {"ipBlock": {"cidr": "::/0"}}]}
                ],
                "egress": [{"ports": [{"port": "dns", "protocol": "UDP"}, {"port": 53}]}],
            },
        },
        NetworkPolicy,
    )
    assert wanted([policy]) == {
        PeerSelector(namespace="shop"),
        with_port(PeerSelector(), "UDP", "dns"),
    }


def test_what_cluster_policies_need() -> None:
    policy = msgspec.convert(
        {
            "metadata": {"name": "p"},
            "spec": {
                "tier": "Admin",
                "subject": {"namespaces": {}},
                "ingress": [{"action": "Deny", "from": [{"namespaces": {"matchLabels": {"a": "1"}}}]}],
                "egress": [
                    {"action": "Accept", "to": [{"nodes": {}}, {"networks": ["10.0.0.0/8"]}]},
                    {"action": "Deny", "to": [{"later": {}}, {"namespaces": {"matchLabels": {"b": "1"}}}]},
                    {
                        "action": "Pass",
                        "to": [{"namespaces": {"matchLabels": {"c": "1"}}}],
                        "protocols": [{"destinationNamedPort": "web"}],
                    },
                ],
            },
        },
        ClusterNetworkPolicy,
    )
    named = PeerSelector(namespaces=(("c", "In", ("1",)),))
    assert wanted([], [policy]) == {
        PeerSelector(namespaces=(("a", "In", ("1",)),)),
        PeerSelector(nodes=()),
        *(with_port(named, protocol, "web") for protocol in ("TCP", "UDP", "SCTP")),
    }


def test_sidecars_ports_count_and_those_of_other_init_containers_do_not_calico_8881_kubernetes_125285() -> (
    None
):
    pod = msgspec.convert(
        {
            "spec": {
                "containers": [{"ports": [{"name": "http", "containerPort": 80}, {"containerPort": 81}]}],
                "initContainers": [
                    {"restartPolicy": "Always", "ports": [{"name": "mesh", "containerPort": 15001}]},
                    {"ports": [{"name": "setup", "containerPort": 9}]},
                ],
            }
        },
        Pod,
    )
    assert pod.ports == (("http", "TCP", 80), ("mesh", "TCP", 15001))
