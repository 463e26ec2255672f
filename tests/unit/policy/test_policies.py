"""What networking.k8s.io/v1 demands, rule by rule; `ask` has evaluator and program agree."""

from __future__ import annotations

from quilt_policy.verdicts import Reason
from tests.support.policy_examples import ask, pod, policy, scene

WEB = {"podSelector": {"matchLabels": {"app": "web"}}}
DNS = [("dns", "UDP", 53), ("dns", "TCP", 53)]


def test_a_pod_that_nothing_selects_may_do_everything() -> None:
    found = scene(pod("p0"), pod("p1"), policy("other", "elsewhere"))
    verdict = ask(found, "p0", "p1")
    assert verdict.allowed
    assert verdict.ingress.reason is Reason.NOT_ISOLATED


def test_no_rules_isolate() -> None:
    found = scene(pod("p0"), pod("p1"), policy("closed", policyTypes=["Ingress"], ingress=[]))
    verdict = ask(found, "p0", "p1")
    assert not verdict.allowed
    assert verdict.egress.allowed
    assert verdict.ingress.reason is Reason.ISOLATED
    assert verdict.ingress.policies == ("shop/closed",)
    assert not ask(found, "198.51.100.7", "p1", "ICMP", 0).allowed


def test_types_default_to_ingress_and_to_egress_where_there_are_rules() -> None:
    found = scene(pod("p0"), pod("p1", "other"), policy("ingress"))
    assert ask(found, "p0", "p1").allowed
    assert not ask(found, "p1", "p0").allowed
    found = scene(pod("p0"), pod("p1", "other"), policy("both", egress=[{"ports": [{"port": 53}]}]))
    assert not ask(found, "p0", "p1").allowed
    assert ask(found, "p0", "p1", port=53).allowed


def test_absent_and_empty_peers_are_everybody_outside_too() -> None:
    for peers in ({}, {"from": []}):
        found = scene(pod("p0"), policy("open", ingress=[peers]))
        assert ask(found, "198.51.100.7", "p0").ingress.origin == "shop/open ingress 0"
        assert ask(found, "2001:db8::7", str(found.addresses("p0")[1])).allowed


def test_policies_add_up_and_the_first_by_name_is_named() -> None:
    found = scene(
        pod("p0"),
        pod("p1", labels={"app": "web"}),
        policy("a", ingress=[]),
        policy("b", ingress=[{"from": [{"ipBlock": {"cidr": "198.51.100.0/24"}}]}, {"from": [WEB]}]),
    )
    assert ask(found, "p1", "p0").ingress.origin == "shop/b ingress 1"
    assert not ask(found, "198.51.101.1", "p0").allowed


def test_pod_selectors_are_of_the_policys_namespace_unless_namespaces_are_selected() -> None:
    peers = [WEB]
    pods = [pod("p0"), pod("p1", "other", labels={"app": "web"}), pod("p2", labels={"app": "web"}, node="n2")]
    found = scene(*pods, policy("own", ingress=[{"from": peers}]), other={"team": "red"})
    assert not ask(found, "p1", "p0").allowed
    assert ask(found, "p2", "p0").allowed
    everywhere = policy("all", ingress=[{"from": [{**WEB, "namespaceSelector": {}}]}])
    assert ask(scene(*pods, everywhere), "p1", "p0").allowed
    red = policy("red", ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "red"}}}]}])
    found = scene(*pods, red, other={"team": "red"})
    assert ask(found, "p1", "p0").allowed
    assert not ask(found, "p2", "p0").allowed


def test_two_peers_are_either_and_one_with_two_selectors_is_both() -> None:
    red = {"namespaceSelector": {"matchLabels": {"team": "red"}}}
    pods = [pod("p0"), pod("p1", "other"), pod("p2", labels={"app": "web"})]
    either = scene(*pods, policy("e", ingress=[{"from": [red, WEB]}]), other={"team": "red"})
    assert ask(either, "p1", "p0").allowed
    assert ask(either, "p2", "p0").allowed
    both = scene(*pods, policy("b", ingress=[{"from": [{**red, **WEB}]}]), other={"team": "red"})
    assert not ask(both, "p1", "p0").allowed
    assert not ask(both, "p2", "p0").allowed


def test_nearly_everybody_is_kept_as_who_is_left_out() -> None:
    without = {"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}}
    found = scene(
        pod("p0"), pod("p1"), pod("p2", labels={"app": "web"}), policy("p", ingress=[{"from": [without]}])
    )
    assert ask(found, "p1", "p0").allowed
    assert not ask(found, "p2", "p0").allowed
    assert not ask(found, "198.51.100.7", "p0").allowed


def test_blocks_match_pods_too_and_an_exception_is_no_denial() -> None:
    block = {"ipBlock": {"cidr": "10.42.0.0/16", "except": ["10.42.2.0/24"]}}
    found = scene(pod("p0"), pod("p1"), pod("p2", node="n2"), policy("p", ingress=[{"from": [block]}]))
    assert ask(scene(pod("p0"), policy("p", ingress=[{"from": [block]}])), "10.42.3.9", "p0").allowed
    assert not ask(found, "10.42.2.9", "p0").allowed
    more = policy("q", ingress=[{"from": [{"ipBlock": {"cidr": "10.42.2.9/32"}}]}])
    assert ask(scene(pod("p0"), policy("p", ingress=[{"from": [block]}]), more), "10.42.2.9", "p0").allowed


def test_a_block_with_a_nodes_address_is_its_inner_address_too_calico_3665_4919_kubernetes_100247() -> None:
    of_n2 = policy("p", ingress=[{"from": [{"ipBlock": {"cidr": "192.168.0.2/32"}}]}])
    found = scene(pod("p0"), of_n2)
    assert ask(found, "192.168.0.2", "p0").allowed
    assert ask(found, "10.42.2.0", "p0").allowed
    assert not ask(found, "10.42.3.0", "p0").allowed


def test_ports_and_protocols() -> None:
    ports = [{"port": 80}, {"protocol": "UDP", "port": 5000, "endPort": 5010}, {"protocol": "SCTP"}]
    found = scene(pod("p0"), pod("p1"), policy("p", ingress=[{"ports": ports}]))
    assert ask(found, "p1", "p0", "TCP", 80).allowed
    assert not ask(found, "p1", "p0", "TCP", 81).allowed
    assert not ask(found, "p1", "p0", "UDP", 80).allowed
    for port, allowed in ((4999, False), (5000, True), (5010, True), (5011, False)):
        assert ask(found, "p1", "p0", "UDP", port).allowed is allowed
    assert ask(found, "p1", "p0", "SCTP", 7).allowed
    assert not ask(found, "p1", "p0", "ICMP", 0).allowed


def test_an_end_that_is_the_beginning_is_one_port() -> None:
    found = scene(pod("p0"), pod("p1"), policy("p", ingress=[{"ports": [{"port": 80, "endPort": 80}]}]))
    assert ask(found, "p1", "p0", port=80).allowed
    assert not ask(found, "p1", "p0", port=81).allowed


def test_sctp_is_not_taken_for_tcp_kube_router_1019() -> None:
    """The upstream suite's "should not mistakenly treat 'protocol: SCTP' as 'protocol: TCP'"."""
    found = scene(pod("p0"), pod("p1"), policy("p", ingress=[{"ports": [{"protocol": "SCTP", "port": 80}]}]))
    assert not ask(found, "p1", "p0", "TCP", 80).allowed
    assert ask(found, "p1", "p0", "SCTP", 80).allowed


def test_named_ports_of_ingress_are_the_pods_own() -> None:
    named = policy("p", ingress=[{"ports": [{"port": "dns", "protocol": "UDP"}]}])
    found = scene(pod("p0", ports=DNS), pod("p1", ports=[("dns", "UDP", 5353)]), pod("p2"), named)
    assert ask(found, "p2", "p0", "UDP", 53).allowed
    assert not ask(found, "p2", "p0", "TCP", 53).allowed
    assert ask(found, "p2", "p1", "UDP", 5353).allowed
    assert not ask(found, "p2", "p1", "UDP", 53).allowed
    assert not ask(found, "p0", "p2", "UDP", 53).allowed


def test_named_ports_of_egress_are_the_other_sides() -> None:
    red = {"namespaceSelector": {"matchLabels": {"team": "red"}}}
    named = policy("p", egress=[{"to": [red], "ports": [{"port": "http"}]}], policyTypes=["Egress"])
    pods = [
        pod("p0"),
        pod("p1", "other", node="n2", ports=[("http", "TCP", 80)]),
        pod("p2", "other", ports=[("http", "TCP", 8080)]),
        pod("p3", node="n2", ports=[("http", "TCP", 80)]),
    ]
    found = scene(*pods, named, other={"team": "red"})
    assert ask(found, "p0", "p1", port=80).allowed
    assert not ask(found, "p0", "p1", port=8080).allowed
    assert ask(found, "p0", "p2", port=8080).allowed
    assert not ask(found, "p0", "p2", port=80).allowed
    assert not ask(found, "p0", "p3", port=80).allowed
    anybody = policy("p", egress=[{"ports": [{"port": "http"}]}], policyTypes=["Egress"])
    assert ask(scene(*pods, anybody), "p0", "p3", port=80).allowed
    assert not ask(scene(*pods, anybody), "p0", "198.51.100.7", port=80).allowed


def test_a_named_port_in_a_block_is_that_of_pods_in_it() -> None:
    block = {"ipBlock": {"cidr": "10.42.2.0/24"}}
    named = policy("p", policyTypes=["Egress"], egress=[{"to": [block], "ports": [{"port": "http"}]}])
    http = [("http", "TCP", 80)]
    found = scene(pod("p0"), pod("p1", node="n2", ports=http), pod("p2", node="n3", ports=http), named)
    assert ask(found, str(found.addresses("p0")[0]), str(found.addresses("p1")[0])).allowed
    assert not ask(found, str(found.addresses("p0")[0]), str(found.addresses("p2")[0])).allowed


def test_own_node_is_let_in_and_reached() -> None:
    """So probes need no rule."""
    found = scene(pod("p0"), policy("closed", policyTypes=["Ingress", "Egress"]))
    for address in ("192.168.0.1", "10.42.1.0", "10.42.1.1"):
        assert ask(found, address, "p0").ingress.reason is Reason.OWN_NODE
        assert ask(found, "p0", address).egress.reason is Reason.OWN_NODE
    assert not ask(found, "192.168.0.2", "p0").allowed


def test_a_pod_reaches_itself_kubernetes_95879_125611() -> None:
    found = scene(pod("p0"), policy("closed", policyTypes=["Ingress", "Egress"]))
    verdict = ask(found, "p0", "p0")
    assert verdict.allowed
    assert verdict.egress.reason is verdict.ingress.reason is Reason.ITSELF


def test_pods_of_the_hosts_network_are_neither_subject_nor_peer_kube_network_policies_379_380() -> None:
    """An address of a node never enters a set of pods."""
    everybody = policy("p", ingress=[{"from": [{"podSelector": {}}]}])
    found = scene(pod("p0"), pod("p1", node="n2", host_network=True), pod("p2", host_network=True), everybody)
    assert not ask(found, "192.168.0.2", "p0").allowed
    assert [name.name for name in found.compiled().program().pods] == ["p0"]


def test_a_peer_of_which_nothing_is_known_is_nobody() -> None:
    found = scene(pod("p0"), pod("p1"), policy("p", ingress=[{"from": [{"later": {}}]}]))
    assert not ask(found, "p1", "p0").allowed


def test_a_named_port_of_a_sidecar_is_found_in_both_directions_linkerd_14144_istio_59045() -> None:
    admin = {"ports": [{"port": "admin"}]}
    pods = (
        pod("p0", sidecar=[("admin", "TCP", 4191)]),
        pod("p1", node="n2", sidecar=[("admin", "TCP", 4192)]),
    )
    found = scene(*pods, policy("in", policyTypes=["Ingress"], ingress=[admin]))
    assert ask(found, "p1", "p0", port=4191).allowed
    assert not ask(found, "p1", "p0", port=4192).allowed
    found = scene(*pods, policy("out", policyTypes=["Egress"], egress=[admin]))
    assert ask(found, "p0", "p1", port=4192).allowed
    assert not ask(found, "p0", "p1", port=4191).allowed
