"""Faults of other pod networks (docs/network-policies.md), in packets: names have the number of a report."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

import pytest

from quilt_policy.compile import Compiler
from quilt_policy.places import Place
from quilt_policy.program import Action, Ports, Profile, Protocol
from tests.support import policy_examples as examples
from tests.support.frames import IP, datagram, ethernet, mac_of, sctp, send
from tests.support.namespaces import Namespace
from tests.support.overlay_world import make_world
from tests.support.policy_node import (
    PORT,
    PROBE,
    PolicyNode,
    arguments,
    denied,
    flows,
    is_cut,
    pings,
    probe,
    serving,
    talking,
)
from tests.support.policy_programs import address_set, egress, ingress, pod, program, ranges, rule, udp
from tests.support.runtime_node import Node, ping

Make = Callable[[], Namespace]
GATEWAY_MAC = "02:71:0a:2a:01:01"
TWINS = {"cluster_cidrs": ["10.42.0.0/16", "fd42:42::/48"], "subnet_v6": "fd42:42:0:1::/64"}
SERVICE = "10.96.0.10"
DNS = f"""table ip service {{
  chain in {{
    type nat hook prerouting priority dstnat; ip daddr {SERVICE} udp dport 53 dnat to 10.42.1.2:53
  }}
}}"""
# A question for each of two kinds of addresses at once, by a socket of its own, as a resolver asks.
ASK = """
import socket, sys
answered = 0
for _ in range(200):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(10)
        end.connect((sys.argv[1], 53))
        end.send(b"A"), end.send(b"AAAA")
        answered += len({end.recv(9), end.recv(9)})
print(answered)
"""
ANSWER = """
import socket
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.bind(("0.0.0.0", 53))
print("ready", flush=True)
while True:
    data, source = end.recvfrom(9)
    end.sendto(data, source)
"""
COUNT = """table inet count {
  chain in { type filter hook prerouting priority -300; %s counter; }
}"""


@pytest.fixture
def enforcing(ready_node: Node, make_netns: Make) -> PolicyNode:
    made = PolicyNode(ready_node, make_netns)
    made.replace(program(*(Profile(pod(name)) for name in ("web", "client"))))
    return made


@pytest.fixture
def pods(enforcing: PolicyNode) -> tuple[Namespace, Namespace]:
    """Pods web (10.42.1.2) and client (10.42.1.3)."""
    return enforcing.add("web"), enforcing.add("client")


def test_a_completed_pods_address_gives_a_new_pod_none_of_its_rules_antrea_6507_azure_428(
    enforcing: PolicyNode, make_netns: Make
) -> None:
    """The completed pod's object stays, and with it what was announced for it."""
    of_job, of_next = ingress("i_1", rule("p_a", udp(PORT))), ingress("i_2")
    profiles = (Profile(pod("job"), "i_1"), Profile(pod("next"), "i_2"), Profile(pod("client")))
    clients = address_set("p_a", "10.42.1.2")
    enforcing.replace(program(clients, of_job, of_next, *profiles))
    client, job, successor = enforcing.add("client"), make_netns(), make_netns()
    wished = {"runtimeConfig": {"ips": ["10.42.1.77"]}}
    assert enforcing.node.add_pod(job, arguments=arguments("job"), **wished) == "10.42.1.77"
    with serving(job) as server, talking(client, "10.42.1.77", "udp") as end:
        flows(server, end, ways=("udp",))
        enforcing.delete(job)
        enforcing.node.add_pod(successor, arguments=arguments("next"), **wished)
        with serving(successor) as heir:
            is_cut(heir, end, ways=("udp",))


def test_a_node_probes_its_isolated_pods_kube_network_policies_65_150_aws_56_network_policy_api_314(
    ready_node: Node, make_netns: Make
) -> None:
    enforcing = PolicyNode(ready_node, make_netns, TWINS)
    deny = (rule(action=Action.DENY),)
    chains = (ingress("i_1", admin=deny), egress("e_1", admin=deny))
    closed = Profile(pod("web"), "i_1", "e_1", judge_self=True)
    enforcing.replace(program(*chains, closed, Profile(pod("client"))))
    web, client, node = enforcing.add("web"), enforcing.add("client"), enforcing.node.netns
    for host, address in (("0.0.0.0", enforcing.addresses["web"]), ("::", "fd42:42:0:1::2")):
        with serving(web, host):
            assert denied(client, address)
            assert probe(node, address)
            assert probe(node, address, "udp")
            assert pings(node, address)
    assert not pings(web, "10.42.1.1"), "what the pod begins itself is denied"


def test_a_node_in_a_block_reaches_pods_of_others_and_by_its_node_port_calico_5952_cilium_12277(
    make_node: Callable[[], Node], make_netns: Make
) -> None:
    """Its packets come from its VTEP; so do those that it forwards to a pod for a client outside."""
    near, home, outside = make_world(make_node, make_netns, 3).members
    sources = {"vxlan_interface": "vxlan100", "overlay_sources": [near.host, outside.host]}
    enforcing = PolicyNode(home.node, make_netns, {"cluster_cidrs": ["10.42.0.0/16"], **sources})
    compiler = Compiler()
    for one in (near, home, outside):
        compiler.put_place(f"n{one.number}", Place(IPv4Address(one.host), IPv4Network(one.subnet)))
    compiler.put_pod(examples.pod("web", "default"))
    block = {"ipBlock": {"cidr": f"{near.host}/32"}}
    compiler.put_policy(examples.policy("near", "default", ingress=[{"from": [block]}]))
    enforcing.replace(compiler.program())
    web = enforcing.add("web", uid="uid-web")
    address = enforcing.addresses["web"]
    near.netns.run("nft", "-f", "-", stdin=node_port(address))
    with serving(web):
        assert probe(near.netns, address)
        assert denied(outside.netns, address)
        assert probe(outside.netns, near.host, port=30080)


def node_port(address: str) -> str:
    """What kube-proxy makes of a NodePort, in short."""
    return f"""table ip service {{
      chain in {{ type nat hook prerouting priority dstnat; tcp dport 30080 dnat to {address}:{PORT}; }}
      chain out {{ type nat hook postrouting priority srcnat; ip daddr {address} masquerade; }}
    }}"""


def test_sctp_is_a_protocol_like_others_and_its_answers_return_kube_router_1019_calico_2570(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace]
) -> None:
    """By packets made by hand: not every kernel has sockets of SCTP."""
    web, client = pods
    for one in pods:
        one.run("nft", "-f", "-", stdin=COUNT % "meta l4proto sctp")
    there = ethernet(GATEWAY_MAC, mac_of("10.42.1.3"), IP, sctp("10.42.1.3", "10.42.1.2", (5000, PORT), 1))
    back = ethernet(GATEWAY_MAC, mac_of("10.42.1.2"), IP, sctp("10.42.1.2", "10.42.1.3", (PORT, 5000), 2))
    nobody = Profile(pod("client"), "i_0")
    for protocol, arrives in ((Protocol.TCP, 0), (Protocol.SCTP, 1)):
        chain = ingress("i_1", rule("p_a", Ports(protocol, ((PORT, PORT),))))
        clients = enforcing.of("p_a", "client")
        enforcing.replace(program(clients, chain, ingress("i_0"), Profile(pod("web"), "i_1"), nobody))
        send(client, [there])
        ping(client, "10.42.1.1")
        assert arrived(web) == arrives, protocol.name
    send(web, [back])
    ping(web, "10.42.1.1")
    assert arrived(client) == 1


def arrived(receiver: Namespace) -> int:
    listed = receiver.run("nft", "list", "table", "inet", "count")
    return int(listed.partition("counter packets ")[2].split()[0])


def test_a_block_with_many_exceptions_is_replaced_as_a_whole_calico_4069_firewalld_1544(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace]
) -> None:
    """30,000 ranges: about as many as fit into one policy. The transaction is one, so nothing is between."""
    web, client = pods
    first = int(IPv4Address("172.16.0.0"))
    many = [(str(IPv4Address(first + 2 * number)),) * 2 for number in range(30_000)]
    own = ((enforcing.addresses["client"],) * 2,)
    chain, held = ingress("i_1", rule("b_1")), Profile(pod("web"), "i_1")
    with serving(web) as server:
        enforcing.replace(program(ranges("b_1", *own, *many), chain, held, Profile(pod("client"))))
        with talking(client, enforcing.addresses["web"]) as end:
            flows(server, end)
            enforcing.replace(program(ranges("b_1", *many[1:]), chain, held, Profile(pod("client"))))
            is_cut(end)
            enforcing.replace(program(ranges("b_1", *own, *many[2:]), chain, held, Profile(pod("client"))))
            flows(server, end)


def test_neighbors_are_found_whatever_is_denied_kube_network_policies_191(
    ready_node: Node, make_netns: Make
) -> None:
    enforcing = PolicyNode(ready_node, make_netns, TWINS)
    web, client = Profile(pod("web"), "i_1", "e_1"), Profile(pod("client"), "i_2", "e_2")
    to_nodes = (rule("p_n", action=Action.DENY),)
    chains = (
        ingress("i_1", rule("p_a")),
        egress("e_1", admin=(rule(action=Action.DENY),)),
        ingress("i_2"),
        egress("e_2", rule("p_b"), admin=to_nodes),
    )
    addresses = {"p_a": "fd42:42:0:1::3", "p_b": "fd42:42:0:1::2"}
    sets = [address_set(name, one) for name, one in addresses.items()]
    nodes = address_set("p_n", "fd42:42:0:1::", "fd42:42:0:1::1")
    enforcing.replace(program(*chains, *sets, nodes, web, client))
    server, asker = enforcing.add("web"), enforcing.add("client")
    with serving(server, "::"):
        assert probe(asker, "fd42:42:0:1::2")
        assert not pings(asker, "fd42:42:0:1::1")
        for one in (server, asker, enforcing.node.netns):
            one.run("ip", "-6", "neigh", "flush", "all")
        assert probe(asker, "fd42:42:0:1::2")


def test_two_questions_at_once_are_both_answered_kube_network_policies_12_95_netfilter_1766(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace]
) -> None:
    """No packet waits for a program, where the second of two overtakes the first or is lost."""
    web, client = pods
    enforcing.node.netns.run("nft", "-f", "-", stdin=DNS)
    sets = (enforcing.of("p_a", "client"), enforcing.of("p_b", "web"))
    chains = (ingress("i_1", rule("p_a", udp(53))), egress("e_1", rule("p_b", udp(53))))
    profiles = (Profile(pod("web"), "i_1"), Profile(pod("client"), egress="e_1"))
    enforcing.replace(program(*sets, *chains, *profiles))
    command = ["ip", "netns", "exec", web.name, sys.executable, "-c", ANSWER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            assert client.run(sys.executable, "-c", ASK, SERVICE).strip() == "400"
        finally:
            server.kill()
    assert "queue" not in enforcing.table()


def test_errors_about_what_is_allowed_reach_pods_that_nobody_reaches(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace]
) -> None:
    """trap 4: an error is ICMP, and no rule about UDP matches it; without it paths' MTU is not found."""
    sets = (enforcing.of("p_a", "client"), enforcing.of("p_b", "web"))
    chains = (
        ingress("i_1", rule("p_a", udp(9))),
        egress("e_1"),
        ingress("i_2"),
        egress("e_2", rule("p_b", udp(9))),
    )
    profiles = (Profile(pod("web"), "i_1", "e_1"), Profile(pod("client"), "i_2", "e_2"))
    enforcing.replace(program(*sets, *chains, *profiles))
    output = pods[1].run(sys.executable, "-c", PROBE, "udp", enforcing.addresses["web"], "9", "10", "0")
    assert "refused" in output, output


@pytest.mark.parametrize("calls", ["0", "1"])
def test_groups_of_a_nodes_own_pods_are_no_matter_of_policies(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace], calls: str
) -> None:
    """trap 21: whatever bridge-nf-call-iptables is, by which bridged packets pass the forward hook."""
    web, client = pods
    enforcing.node.netns.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={calls}")
    enforcing.replace(program(egress("e_1"), Profile(pod("web"), egress="e_1"), Profile(pod("client"))))
    client.run("nft", "-f", "-", stdin=COUNT % "ip daddr 239.1.1.1")
    packet = datagram("10.42.1.2", "239.1.1.1", "x")
    send(web, [ethernet("01:00:5e:01:01:01", mac_of("10.42.1.2"), IP, packet)])
    ping(enforcing.node.netns, "10.42.1.3")
    assert arrived(client) == 1
