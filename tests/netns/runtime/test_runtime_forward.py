"""FORWARD chains of iptables that refuse what no rule accepts: pods pass, and others' rules still count."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from quilt_proto import node_pb2
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node, eventually, ping


def docker(node: Node, policy: str = "DROP") -> None:
    """Do what Docker's start does to iptables."""
    node.netns.run("iptables-nft", "-P", "FORWARD", policy)
    node.netns.run("iptables-nft", "-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT")


def accepted(node: Node) -> int:
    return node.netns.run("iptables-nft", "-S", "FORWARD").count("quilt0")


def routed(node: Node, make_netns: Callable[[], Namespace]) -> tuple[Namespace, str]:
    """A pod, and the address of a host that it reaches through the node."""
    outside, pod = make_netns(), make_netns()
    node.netns.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", outside.name)
    for netns, address in ((node.netns, "198.18.9.1/24"), (outside, "198.18.9.2/24")):
        netns.run("ip", "addr", "add", address, "dev", "up0")
        netns.run("ip", "link", "set", "up0", "up")
    node.add_pod(pod)
    return pod, "198.18.9.2"


@pytest.mark.kernel
def test_row_14_a_forward_policy_drop_does_not_cut_pods_off(
    ready_node: Node, make_netns: Callable[[], Namespace]
) -> None:
    """FIELD-BUGS 14: Docker's FORWARD policy DROP blocks pod traffic."""
    pod, outside = routed(ready_node, make_netns)
    ping(pod, outside)
    assert accepted(ready_node) == 0, "where nothing is dropped, nothing of another's is touched"
    docker(ready_node)
    eventually(lambda: accepted(ready_node) == 2, "the accept rules are inserted")
    ping(pod, outside)
    ready_node.netns.run("iptables-nft", "-F", "FORWARD")
    eventually(lambda: accepted(ready_node) == 2, "they come back when they are flushed")
    ping(pod, outside)
    ready_node.stop()
    ready_node.start()
    assert accepted(ready_node) == 2, "a restart does not double them"


def test_row_14_the_rules_are_removed_with_everything_else(ready_node: Node) -> None:
    docker(ready_node)
    eventually(lambda: accepted(ready_node) == 2, "the accept rules are inserted")
    ready_node.stop()
    command = (sys.executable, "-m", "quilt_runtime", "--cleanup", f"--socket-dir={ready_node.socket_dir}")
    assert "FORWARD" in ready_node.netns.run(*command)
    rules = ready_node.netns.run("iptables-nft", "-S", "FORWARD").splitlines()
    assert rules == ["-P FORWARD DROP", "-A FORWARD -i docker0 -j ACCEPT"]


def reachable(pod: Namespace, address: str) -> bool:
    command = ["ip", "netns", "exec", pod.name, "ping", "-c", "1", "-W", "1", address]
    return subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0


def iptables(node: Node, *arguments: str) -> None:
    node.netns.run("iptables-nft", *arguments)


def test_rules_of_others_in_forward_still_count(
    ready_node: Node, make_netns: Callable[[], Namespace]
) -> None:
    """s4: What an administrator's or kube-proxy's rule in FORWARD refuses is refused, before and after it."""
    pod, outside = routed(ready_node, make_netns)
    iptables(ready_node, "-N", "DOCKER-USER")
    iptables(ready_node, "-A", "FORWARD", "-j", "DOCKER-USER")
    docker(ready_node)
    eventually(lambda: accepted(ready_node) == 2, "the accept rules are added")
    ping(pod, outside)
    iptables(ready_node, "-A", "DOCKER-USER", "-d", outside, "-j", "DROP")
    assert not reachable(pod, outside), "a rule in a chain that came before the mesh's"
    iptables(ready_node, "-F", "DOCKER-USER")
    assert reachable(pod, outside)
    iptables(ready_node, "-A", "FORWARD", "-d", outside, "-j", "REJECT")
    eventually(lambda: not reachable(pod, outside), "a rule appended behind the mesh's counts as well")
    assert accepted(ready_node) == 2


def test_rules_of_an_earlier_release_at_the_top_move_behind_others(
    ready_node: Node, make_netns: Callable[[], Namespace]
) -> None:
    """s4: The accept rules that an earlier release put at the top of FORWARD move behind those of others."""
    pod, outside = routed(ready_node, make_netns)
    ready_node.stop()
    docker(ready_node)
    iptables(ready_node, "-A", "FORWARD", "-d", outside, "-j", "DROP")
    for direction in ("iifname", "oifname"):
        rule = f'insert rule ip filter FORWARD {direction} "quilt0" counter accept comment "quilt-mesh"'
        ready_node.netns.run("nft", "-f", "-", stdin=rule)
    ready_node.start()
    assert not reachable(pod, outside)
    assert accepted(ready_node) == 2


@pytest.mark.parametrize("how", ["rule", "chain"])
def test_a_last_rule_that_rejects_everything_does_not_cut_pods_off(
    ready_node: Node, make_netns: Callable[[], Namespace], how: str
) -> None:
    """t16: Where FORWARD accepts by policy and its last rule rejects all, pods pass before that rule."""
    pod, outside = routed(ready_node, make_netns)
    iptables(ready_node, "-A", "FORWARD", "-i", "eth7", "-j", "ACCEPT")
    if how == "chain":
        iptables(ready_node, "-N", "reject-forward")
        iptables(ready_node, "-A", "reject-forward", "-j", "REJECT")
    last = "REJECT" if how == "rule" else "reject-forward"
    iptables(ready_node, "-A", "FORWARD", "-m", "comment", "--comment", "the rest", "-j", last)
    eventually(lambda: reachable(pod, outside), "pods pass")
    listed = ready_node.netns.run("iptables-nft", "-S", "FORWARD").splitlines()
    assert [rule.partition(" -j ")[2].split()[0] for rule in listed[1:]] == [
        "ACCEPT",
        "ACCEPT",
        "ACCEPT",
        last,
    ]
    iptables(ready_node, "-I", "FORWARD", "-d", outside, "-j", "DROP")
    assert not reachable(pod, outside), "what others say before it counts"
    iptables(ready_node, "-F", "FORWARD")
    assert reachable(pod, outside)
    assert accepted(ready_node) == 0, "no rule of the mesh where nothing is refused"


def test_another_firewall_that_drops_pods_packets_is_reported_and_left_alone(ready_node: Node) -> None:
    def warnings() -> str:
        return " ".join(ready_node.config.GetStatus(node_pb2.GetStatusRequest()).warnings)

    wall = "table inet wall { chain f { type filter hook forward priority 0; iifname quilt0 drop; }; }"
    ready_node.stop()
    ready_node.netns.run("nft", "-f", "-", stdin=wall)
    ready_node.start()
    eventually(lambda: "Chain inet wall f drops packets of quilt0" in warnings(), "it is reported")
    assert ready_node.metric("quilt_runtime_foreign_drop_chains") == 1
    assert "drop" in ready_node.netns.run("nft", "list", "table", "inet", "wall")
