"""What network policies let pass and what they do not, in packets: every direction, protocol and way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from quilt_policy.program import Action, Chain, Direction, Profile, Program, Scope
from tests.support.namespaces import Namespace
from tests.support.overlay_world import make_world
from tests.support.policy_node import (
    PORT,
    PolicyNode,
    denied,
    flows,
    is_cut,
    pings,
    probe,
    serving,
    talking,
)
from tests.support.policy_programs import address_set, egress, ingress, pod, program, ranges, rule, tcp, udp
from tests.support.runtime_node import Node, eventually

Make = Callable[[], Namespace]
SERVICE = "10.96.0.9"
DNAT = f"""table ip service {{
  chain in {{
    type nat hook prerouting priority dstnat;
    ip daddr {SERVICE} tcp dport 80 dnat to 10.42.1.2:{PORT}
    ip daddr {SERVICE} udp dport 80 dnat to 10.42.1.2:{PORT}
  }}
  chain out {{ type nat hook postrouting priority srcnat; ip saddr 10.42.1.2 ip daddr 10.42.1.2 masquerade; }}
}}"""
ALL = program(*(Profile(pod(name)) for name in ("web", "client", "other", "far")))


def held(*parts: object, web: Profile | None = None, client: Profile | None = None) -> Program:
    """A program in which nothing holds for pods but what is given."""
    profiles = [web or Profile(pod("web")), client or Profile(pod("client"))]
    return program(*parts, *profiles, Profile(pod("other")), Profile(pod("far")))  # type: ignore[arg-type]


@pytest.fixture
def enforcing(ready_node: Node, make_netns: Make) -> PolicyNode:
    made = PolicyNode(ready_node, make_netns)
    made.replace(ALL)
    return made


@pytest.fixture
def pods(enforcing: PolicyNode) -> tuple[Namespace, Namespace, Namespace]:
    """Pods web (10.42.1.2), client and other (10.42.1.3, .4)."""
    return enforcing.add("web"), enforcing.add("client"), enforcing.add("other")


def test_pods_are_held_to_their_chains_in_both_directions(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace, Namespace]
) -> None:
    web, client, other = pods
    address = enforcing.addresses["web"]
    with serving(web):
        assert probe(client, address)
        assert probe(client, address, "udp")
        assert pings(client, address)
        chain = ingress("i_1", rule("p_a", tcp(PORT)))
        enforcing.replace(held(enforcing.of("p_a", "client"), chain, web=Profile(pod("web"), "i_1")))
        assert probe(client, address)
        assert denied(client, address, "udp")
        assert denied(other, address)
        assert not pings(client, address)
        assert pings(enforcing.node.netns, address), "a node reaches its own pods"
        assert probe(enforcing.node.netns, address)
        every = ingress("i_2", rule("p_a"))
        enforcing.replace(held(enforcing.of("p_a", "client"), every, web=Profile(pod("web"), "i_2")))
        assert probe(client, address, "udp")
        assert pings(client, address)
        assert denied(other, address)
        enforcing.replace(
            held(
                egress("e_1", rule("p_a", udp(PORT))),
                enforcing.of("p_a", "web"),
                client=Profile(pod("client"), egress="e_1"),
            )
        )
        assert probe(client, address, "udp")
        assert probe(other, address)
        assert denied(client, address)
        assert not pings(client, address)
        enforcing.replace(ALL)
        assert probe(client, address)
        assert "chain forward" not in enforcing.table()


@pytest.mark.parametrize("way", ["direct", "by a Service"])
def test_what_is_forbidden_ends_and_returns_calico_2759_6399_antrea_5381_istio_5815_kubernetes_120525(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace, Namespace], way: str
) -> None:
    """Standing connections are judged again, at once."""
    web, client, other = pods
    enforcing.node.netns.run("nft", "-f", "-", stdin=DNAT)
    target, port = (SERVICE, 80) if way != "direct" else (enforcing.addresses["web"], PORT)
    enforcing.replace(
        held(
            enforcing.of("p_a", "client", "other"),
            ingress("i_1", rule("p_a", tcp(PORT), udp(PORT))),
            web=Profile(pod("web"), "i_1"),
        )
    )
    with (
        serving(web) as server,
        talking(client, target, port=port) as end,
        talking(other, target, port=port) as unrelated,
    ):
        flows(server, end, unrelated)
        enforcing.members("p_a", remove=(enforcing.addresses["client"],))
        is_cut(end)
        flows(unrelated)
        enforcing.members("p_a", add=(enforcing.addresses["client"],))
        flows(server, end, unrelated)
    enforcing.replace(
        held(
            enforcing.of("p_b", "web"),
            egress("e_1", rule("p_b", tcp(PORT), udp(PORT))),
            client=Profile(pod("client"), egress="e_1"),
        )
    )
    with serving(web) as server, talking(client, target, port=port) as end:
        flows(server, end)
        enforcing.members("p_b", remove=(enforcing.addresses["web"],))
        is_cut(server, end)
        enforcing.members("p_b", add=(enforcing.addresses["web"],))
        flows(server, end)
        enforcing.replace(held(egress("e_2"), client=Profile(pod("client"), egress="e_2")))
        is_cut(server, end)
        enforcing.replace(ALL)
        flows(server, end)


def test_an_unrelated_connection_loses_nothing_while_policies_change(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace, Namespace]
) -> None:
    web, client, _ = pods
    enforcing.replace(
        held(enforcing.of("p_a", "client"), ingress("i_1", rule("p_a")), web=Profile(pod("web"), "i_1"))
    )
    with serving(web) as server, talking(client, enforcing.addresses["web"], "udp") as end:
        flows(end, ways=("udp",))
        for number in range(100):
            enforcing.members("p_a", add=(f"10.42.9.{number}",))
            enforcing.members("p_a", remove=(f"10.42.9.{number}",))
            if number % 10 == 0:
                chain = ingress(f"i_{number}x", rule("p_a"), rule("p_a", tcp(1 + number)))
                enforcing.replace(
                    held(enforcing.of("p_a", "client"), chain, web=Profile(pod("web"), chain.name))
                )
        flows(end, ways=("udp",))
        sent, got = end.report()["sent"], server.report()["udp"]
        assert sent - got <= 1, "one may be on its way"
        assert got <= end.report()["sent"]


def test_a_pod_reaches_itself_by_a_service_antrea_5681_5687_cilium_15321_27709_ovn_kubernetes_3178(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace, Namespace]
) -> None:
    """NetworkPolicies never keep a pod from itself; cluster policies may."""
    web, client, _ = pods
    enforcing.node.netns.run("nft", "-f", "-", stdin=DNAT)
    chains = (ingress("i_1"), egress("e_1"))
    with serving(web):
        enforcing.replace(held(*chains, web=Profile(pod("web"), "i_1", "e_1")))
        assert probe(web, SERVICE, port=80)
        assert denied(client, SERVICE, port=80)
        deny = ingress("i_2", admin=(rule("p_a", action=Action.DENY),))
        enforcing.replace(
            held(deny, enforcing.of("p_a", "web"), web=Profile(pod("web"), "i_2", judge_self=True))
        )
        assert denied(web, SERVICE, port=80)
        allow = ingress("i_3", admin=(rule("p_a", action=Action.PASS),))
        enforcing.replace(
            held(allow, enforcing.of("p_a", "web"), web=Profile(pod("web"), "i_3", judge_self=True))
        )
        assert probe(web, SERVICE, port=80)


def test_tiers_decide_in_their_order(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace, Namespace]
) -> None:
    """trap 9: return and goto of each tier come back to where the other end's chain is asked."""
    web, client, other = pods
    address, gateway = enforcing.addresses["web"], "10.42.1.1"
    sets = (enforcing.of("p_a", "client"), enforcing.of("p_b", "client", "other"))
    accept, deny = rule("p_a"), rule("p_a", action=Action.DENY)
    passes = rule("p_b", action=Action.PASS)
    with serving(web):
        for admin, policies, passing in (
            ((accept,), (), (True, False)),
            ((deny,), (rule("p_b"),), (False, True)),
            ((passes, rule(action=Action.DENY)), (rule("p_a"),), (True, False)),
        ):
            chain = ingress("i_1", *policies, admin=admin)
            enforcing.replace(held(*sets, chain, web=Profile(pod("web"), "i_1", judge_self=True)))
            assert (probe(client, address, wait=1), probe(other, address, wait=1)) == passing
            enforcing.replace(ALL)
        for chain, passing in (
            (egress("e_1", rule(), admin=(rule(action=Action.DENY),)), False),
            (egress("e_2", admin=(rule(action=Action.PASS),)), True),
            (Chain("e_3", Direction.EGRESS, (), None, (rule(action=Action.DENY),)), False),
            (egress("e_4"), True),
        ):
            enforcing.replace(held(chain, client=Profile(pod("client"), egress=chain.name)))
            assert pings(client, gateway) is passing, (
                f"{chain.name}: only cluster policies judge what a node gets"
            )


def test_twins_are_judged_alike(ready_node: Node, make_netns: Make) -> None:
    subnet6, cidrs = "fd42:42:0:1::/64", ["10.42.0.0/16", "fd42:42::/48"]
    enforcing = PolicyNode(ready_node, make_netns, {"cluster_cidrs": cidrs, "subnet_v6": subnet6})
    enforcing.replace(ALL)
    web, client, other = enforcing.add("web"), enforcing.add("client"), enforcing.add("other")
    address, own = "fd42:42:0:1::2", "fd42:42:0:1::3"
    chain = ingress("i_1", rule("p_a", tcp(PORT), udp(PORT)), rule("b_1", udp(PORT)))
    sets = (address_set("p_a", own), ranges("b_1", ("fd42:42:0:1::4", "fd42:42:0:1::5")))
    with serving(web, "::") as server:
        enforcing.replace(held(*sets, chain, web=Profile(pod("web"), "i_1")))
        assert denied(other, address)
        assert probe(other, address, "udp")
        assert not pings(other, address)
        with talking(client, address) as end:
            flows(server, end)
            enforcing.members("p_a", remove=(own,))
            is_cut(end)
            enforcing.members("p_a", add=(own,))
            flows(server, end)
        pods_alone = ingress("i_2", rule(scope=Scope.PODS))
        enforcing.replace(held(pods_alone, web=Profile(pod("web"), "i_2")))
        assert probe(other, address)


def test_pods_of_other_nodes_are_judged_on_either_node(
    make_node: Callable[[], Node], make_netns: Make
) -> None:
    world = make_world(make_node, make_netns, 2)
    near, far = (
        PolicyNode(
            member.node,
            make_netns,
            {
                "cluster_cidrs": ["10.42.0.0/16"],
                "vxlan_interface": "vxlan100",
                "overlay_sources": [other.host for other in world.members if other is not member],
            },
        )
        for member in world.members
    )
    for one in (near, far):
        one.replace(ALL)
    web, client = near.add("web"), far.add("client")
    address, own, vtep = near.addresses["web"], far.addresses["client"], world.members[1].vtep
    with serving(web) as server, talking(client, address) as end:
        flows(server, end)
        near.replace(held(address_set("p_a"), ingress("i_1", rule("p_a")), web=Profile(pod("web"), "i_1")))
        is_cut(server, end)
        assert denied(far.node.netns, address)
        near.members("p_a", add=(own, vtep))
        flows(server, end)
        assert probe(far.node.netns, address), "a node's packets come from its VTEP"
        everything = ranges("b_1", ("0.0.0.0", "255.255.255.255"))
        only_others = ingress("i_2", rule(scope=Scope.PODS))
        near.replace(held(only_others, web=Profile(pod("web"), "i_2")))
        assert probe(client, address)
        assert denied(far.node.netns, address), "a VTEP is no pod"
        far.replace(
            held(
                egress("e_1", rule("b_1", udp(PORT))), everything, client=Profile(pod("client"), egress="e_1")
            )
        )
        flows(server, end, ways=("udp",))
        is_cut(server, ways=("tcp",))
        far.replace(held(egress("e_2"), client=Profile(pod("client"), egress="e_2")))
        is_cut(server, end)


def test_denied_packets_are_logged_with_pods_and_rule_while_that_is_wanted(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace, Namespace]
) -> None:
    web, client, _ = pods
    address = enforcing.addresses["web"]
    deny = replace(rule("", action=Action.DENY), origin="ClusterNetworkPolicy/guard ingress 0")
    enforcing.replace(
        held(
            Chain("i_1", Direction.INGRESS, admin=(deny,)),
            egress("e_1"),
            web=Profile(pod("web"), "i_1"),
            client=Profile(pod("client"), "", "e_1"),
        )
    )

    def logged() -> list[tuple[str, ...]]:
        fields = ("reason", "source", "destination", "protocol", "port", "rule")
        return [
            tuple(str(line.get(name)) for name in fields) for line in enforcing.node.events("policy_denied")
        ]

    with serving(web), serving(client):
        assert denied(client, address)
        assert not logged()
        enforcing.configure(True, log_denied=True)
        assert denied(client, address)
        own = ("policy_egress", "default/client", "default/web", "tcp", str(PORT), "none accepts")
        eventually(lambda: own in logged(), f"the client's own chain denied it: {logged()}")
        assert probe(enforcing.node.netns, address), "a node reaches its own pods"
        assert denied(pods[2], address, "udp")
        ruled = ("policy_ingress", "default/other", "default/web", "udp", str(PORT), deny.origin)
        eventually(lambda: ruled in logged(), f"a rule denied it: {logged()}")
        enforcing.configure(True)
        assert " log " not in enforcing.table()
        count = len(logged())
        assert denied(client, address)
        assert len(logged()) == count
