"""What the benchmarks of policies make of their samples, and what they listen to."""

from __future__ import annotations

from ipaddress import IPv4Address

from bench import kube_network_policies
from bench.cases import packets, policy
from bench.events import ElementChange
from bench.policed import address_set, ingress
from bench.policy_scene import are_elements, is_element

ONE, TWO = b"\x0a\x01\x02\x03", b"\x0a\x01\x02\x04"


def test_what_holds_is_held_when_its_last_element_is_there() -> None:
    tells = are_elements(True, "to4", {ONE, TWO})
    assert not tells(ElementChange(True, "to4", ONE))
    assert not tells(ElementChange(False, "to4", TWO))
    assert not tells(ElementChange(True, "from4", TWO))
    assert tells(ElementChange(True, "to4", TWO))
    assert is_element(True, "to4")(ElementChange(True, "to4", ONE))


def test_a_pods_start_is_beside_the_same_without_policies() -> None:
    samples = {policy.CREATED: [10.0, 11.0, 50.0], policy.REMOTE: [30.0]}
    samples |= {policy.OFF: [9.0], policy.ANNOUNCED: [9.5], policy.UNANNOUNCED: [20.0]}
    lines = {line.what: line for line in policy._result(samples).lines}
    assert lines["policy created to the kernel, p99"].met is False
    assert lines["policy created to the kernel, p50"].met is True
    assert lines[f"{policy.ANNOUNCED}: more than without policies"].value == 0.5
    assert lines[f"{policy.UNANNOUNCED}: more than without policies"].met is False


def test_the_best_round_of_packets_counts_and_its_limits_are_of_what_the_issue_asks() -> None:
    samples = {(kind, held): [3.0, 2.0] for kind in packets.KINDS for held in (None, *packets.ALL)}
    samples[packets.LATER_PACKETS, packets.Held(200, 100_000)] = [2.1, 9.0]
    lines = {line.what: line for line in packets._result(samples).lines}
    assert lines["a packet of a flow, 200 rules, 100,000 addresses"].met is True
    assert lines["TCP, 1 stream, 1 rule, 10 addresses"].value == 3.0
    limited = [what for what, line in lines.items() if line.target is not None]
    assert sum("connection" in what for what in limited) == 1
    assert sum("a packet of a flow" in what for what in limited) == len(packets.ALL)


def test_the_last_of_many_rules_admits_the_one_member_that_somebody_has() -> None:
    chain = ingress("e_1", 20, "p_1", 5999)
    assert chain.policies is not None
    assert [rule.ports[0].ranges for rule in chain.policies[-2:]] == [((1018, 1018),), ((5999, 6000),)]
    members = address_set("p_1", 1000, "10.42.1.9").members.v4
    assert len(members) == 4000
    assert IPv4Address("10.42.1.9").packed == members[:4]


def test_the_version_of_the_peer_that_is_built_is_the_one_that_is_pinned() -> None:
    text = (kube_network_policies.TOOL.module / "go.mod").read_text()
    assert f"\t{kube_network_policies.PACKAGE} v{kube_network_policies.VERSION} " in text
    (package,) = kube_network_policies.TOOL.programs.values()
    assert f"tool {package}\n" in text
