"""Policies from a pod's first packet to the node's last: start, restart, others' hands, switched off."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from quilt_policy.program import Profile
from quilt_proto import policy_pb2
from quilt_runtime.core.policyjudged import REMEMBERED
from tests.support.flood import arrived, count
from tests.support.frames import IP, datagram, ethernet, mac_of, send
from tests.support.namespaces import Namespace
from tests.support.policy_node import (
    PORT,
    PolicyNode,
    denied,
    flows,
    is_cut,
    probe,
    serving,
    talking,
)
from tests.support.policy_programs import UID, egress, ingress, pod, profile_message, program, rule, tcp, udp
from tests.support.runtime_node import Node, eventually, ping

Make = Callable[[], Namespace]
GATEWAY_MAC = "02:71:0a:2a:01:01"
TRY_AGAIN_LATER = 11
UNTRACKED = f"""table inet raw {{
  chain c {{ type filter hook prerouting priority raw; udp dport {PORT} notrack; }}
}}"""
ISOLATED = (ingress("i_1", rule("p_a", tcp(PORT), udp(PORT))), Profile(pod("web"), "i_1"))


@pytest.fixture
def enforcing(ready_node: Node, make_netns: Make) -> PolicyNode:
    return PolicyNode(ready_node, make_netns)


@pytest.fixture
def pods(enforcing: PolicyNode) -> tuple[Namespace, Namespace]:
    """Pod web, which answers client alone on one port, and client, for which nothing holds."""
    enforcing.replace(program(Profile(pod("web")), Profile(pod("client"))))
    made = enforcing.add("web"), enforcing.add("client")
    enforce(enforcing, "client")
    return made


def enforce(node: PolicyNode, *clients: str, others: tuple[str, ...] = ()) -> None:
    free = [Profile(pod(name)) for name in ("client", *others)]
    node.replace(program(node.of("p_a", *clients), *ISOLATED, *free))


def test_add_waits_for_its_pod_to_be_announced_and_del_for_nobody_antrea_197_aws_186_189(
    enforcing: PolicyNode, make_netns: Make
) -> None:
    """A pod that nobody knows yet is late, never open; others are not late for it."""
    names = [f"web-{number}" for number in range(4)]
    enforcing.replace(program(Profile(pod("known"))))
    known, late = enforcing.add("known"), make_netns()
    waiting = [make_netns() for _ in names]
    with ThreadPoolExecutor(len(names)) as pool:
        calls = enforcing.stub.WatchPods(policy_pb2.WatchPodsRequest())
        events = (event.pod.name for event in calls if event.what == policy_pb2.PodEvent.WAITING)
        added = [pool.submit(enforcing.try_add, *one) for one in zip(names, waiting, strict=True)]
        assert {next(events) for _ in names} == set(names)
        refused = enforcing.try_add("late", late)
        assert (refused.code, refused.document["code"]) == (1, TRY_AGAIN_LATER)
        assert "which policies hold for pod default/late, and 4 pods wait" in refused.document["msg"]
        enforcing.delete(known)
        assert not any(one.done() for one in added)
        profiles = [profile_message(Profile(pod(name), "i_1")) for name in names]
        chain = policy_pb2.PolicyChain(name="i_1", policies=policy_pb2.PolicyRules())
        enforcing.change(chains=[chain], pods=profiles)
        assert [one.result().code for one in added] == [0] * 4
        calls.cancel()
    assert enforcing.table().count(": jump i_1-4") == 4


def test_without_an_agent_a_pod_is_refused_and_why(enforcing: PolicyNode, make_netns: Make) -> None:
    assert enforcing.node.add_pod(make_netns()), "a container that is no pod"
    refused = enforcing.try_add("web", make_netns())
    assert refused.document["code"] == TRY_AGAIN_LATER
    assert "after 8 s; it is tried again: where that lasts, look at quilt-agent" in refused.document["msg"]


def test_a_restart_keeps_what_is_enforced(enforcing: PolicyNode, pods: tuple[Namespace, Namespace]) -> None:
    web, client = pods
    node, address = enforcing.node, enforcing.addresses["web"]
    enforcing.replace(
        program(*ISOLATED, enforcing.of("p_a", "client"), Profile(pod("client")), Profile(pod("gone")))
    )
    gone = enforcing.add("gone")
    with serving(web) as server, talking(client, address) as end:
        flows(server, end)
        node.kill()
        flows(server, end)
        assert denied(gone, address)
        node.start()
        flows(server, end)
        assert denied(gone, address)
        change = enforcing.stub.ChangePolicies(policy_pb2.PolicyChange())
        assert (change.success, change.unknown_state) == (False, True)
        enforcing.delete(gone)
        enforce(enforcing, "client")
        flows(server, end)
        before = enforcing.table()
        assert not node.events("drift_repaired")
        assert "policies_written_again" not in node.log
        enforce(enforcing)
        is_cut(end)
        assert enforcing.table() != before


def test_a_pod_deleted_before_anything_is_known_leaves_nothing(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace]
) -> None:
    assert enforcing.table().count("jump i_1-4") == 1
    enforcing.node.kill()
    enforcing.node.start()
    enforcing.delete(pods[0])
    eventually(lambda: "jump i_1-4" not in enforcing.table(), "what looks at all at a start may do it")
    assert "10.42.1.2 . 10.42.1.2" not in enforcing.table()


@pytest.mark.parametrize(
    "command",
    [
        "nft delete table inet quilt-policy",
        "nft flush ruleset",
        "nft flush chain inet quilt-policy i_1-4",
        "nft flush chain inet quilt-policy forward",
        "nft add rule inet quilt-policy forward accept",
        "nft flush map inet quilt-policy to4",
        "nft delete element inet quilt-policy p_a-4 { 10.42.1.3 }",
        "nft add element inet quilt-policy p_a-4 { 10.42.9.9 }",
    ],
)
def test_what_others_change_of_it_is_put_right_kube_router_2059(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace], command: str
) -> None:
    web, client = pods
    before = canonical(enforcing.table())
    enforcing.node.netns.run("sh", "-c", command.replace("{", "'{").replace("}", "}'"))
    sample = 'quilt_runtime_drift_repairs_total{kind="policies"}'
    eventually(lambda: enforcing.node.metric(sample) >= 1, f"it is repaired:\n{enforcing.node.log}")
    assert canonical(enforcing.table()) == before
    with serving(web):
        assert probe(client, enforcing.addresses["web"])
        enforce(enforcing)
        assert denied(client, enforcing.addresses["web"])


def canonical(table: str) -> list[str]:
    """The lines of a table in which chains and sets may be in any order, without who was judged."""
    blocks = table.replace("\t", " ").split("\n\n")
    judged = tuple(f"set {name} " for name in REMEMBERED)
    every = (block.strip() for text in blocks for block in text.split("\n }"))
    return sorted(block for block in every if not block.startswith(judged))


def test_switched_off_nothing_is_left_and_nobody_waits(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace], make_netns: Make
) -> None:
    web, client = pods
    address = enforcing.addresses["web"]
    enforce(enforcing)
    with serving(web):
        assert denied(client, address)
        enforcing.configure(False)
        assert probe(client, address)
        assert enforcing.table() == ""
        assert enforcing.try_add("anybody", make_netns()).code == 0
        refused = enforcing.stub.ReplacePolicies(policy_pb2.PolicyProgram())
        assert "policies are off" in refused.error
        enforcing.configure(True)
        assert enforcing.table() == ""
        enforce(enforcing)
        assert denied(client, address)
    enforcing.node.stop()
    assert "table inet quilt-policy" in enforcing.table(), "until a successor replaces this"
    output = enforcing.node.netns.run(
        sys.executable, "-m", "quilt_runtime", "--cleanup", f"--socket-dir={enforcing.node.socket_dir}"
    )
    assert "nftables table inet quilt-policy" in output
    assert enforcing.table() == ""


@pytest.mark.parametrize("kind", ["untracked", "invalid"])
def test_packets_without_a_connection_are_dropped_for_pods_that_are_held_to_something(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace], kind: str
) -> None:
    """trap 3: what has no tuple matches no rule by it. An invalid one has a wrong checksum of UDP."""
    web, client = pods
    if kind == "untracked":
        enforcing.node.netns.run("nft", "-f", "-", stdin=UNTRACKED)
    count(web)
    packet = bytearray(datagram("10.42.1.3", "10.42.1.2", kind))
    packet[22:24] = PORT.to_bytes(2)
    packet[26:28] = b"\x12\x34" if kind == "invalid" else bytes(2)
    frame = ethernet(GATEWAY_MAC, mac_of("10.42.1.3"), IP, bytes(packet))

    def arrive() -> int:
        before = arrived(web)
        send(client, [frame])
        ping(client, "10.42.1.1")
        return arrived(web) - before

    assert arrive() == 0
    free = (Profile(pod("web")), Profile(pod("client")))
    enforcing.replace(program(*free))
    assert arrive() == 1
    enforcing.replace(program(egress("e_1", rule()), free[0], Profile(pod("client"), egress="e_1")))
    assert arrive() == 0


def test_one_that_is_announced_no_more_is_cut_off_weave_2632(
    enforcing: PolicyNode, pods: tuple[Namespace, Namespace]
) -> None:
    """What is left of a pod that was deleted has no network, and another of its name its own."""
    web, client = pods
    enforcing.replace(program(Profile(pod("web", UID.replace("0b5e", "1c6f"))), Profile(pod("client"))))
    with serving(web):
        assert denied(client, enforcing.addresses["web"])
        assert probe(enforcing.node.netns, enforcing.addresses["web"])


def test_a_watch_of_pods_ends_with_the_runtime(enforcing: PolicyNode) -> None:
    """It ends by itself: a call that does not is cancelled after 5 s, which callers see as an error."""
    calls = enforcing.stub.WatchPods(policy_pb2.WatchPodsRequest())
    assert next(calls).what == policy_pb2.PodEvent.SYNCED
    assert enforcing.node.stop() == 0
    assert list(calls) == [], enforcing.node.log
