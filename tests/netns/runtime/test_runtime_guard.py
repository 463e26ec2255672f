"""The bridge guard, whatever others do: a running pod's traffic continues, a forger's does not."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from quilt_proto import node_pb2
from tests.support.frames import IP, datagram, ethernet, mac_of, send, spying
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node, eventually, ping

GATEWAY, GATEWAY_MAC = "10.42.1.1", "02:71:0a:2a:01:01"
OWN_MAC = "02:00:5e:10:00:07"
OUTSIDE = 'counter name "spoofed_from_outside" drop'
LIST = ("nft", "-s", "list", "table", "bridge", "quilt")


def forged(forger: Namespace, receiver: Namespace) -> list[str]:
    """The forged words that arrive at the third pod from the first one, which has the MAC of its address."""
    mac, third = mac_of("10.42.1.2"), "10.42.1.4"
    frames = [
        ethernet(GATEWAY_MAC, mac, IP, datagram("10.42.1.3", third, "source")),
        ethernet(mac_of(third), mac, IP, datagram("10.42.1.2", third, "straight")),
        ethernet(GATEWAY_MAC, mac, IP, datagram("10.42.1.2", third, "end")),
    ]
    with spying(receiver) as arrived:
        send(forger, frames)
    return arrived[:-1]


@pytest.fixture
def pods(ready_node: Node, make_netns: Callable[[], Namespace]) -> list[Namespace]:
    """Three pods of which the second has a MAC of its own wish."""
    made = [make_netns() for _ in range(3)]
    for pod, wish in zip(made, ("", OWN_MAC, ""), strict=True):
        ready_node.add_pod(pod, runtimeConfig={"mac": wish} if wish else {})
        ping(pod, GATEWAY)
    return made


@contextmanager
def reaching(pods: list[Namespace]) -> Iterator[None]:
    """Each pod reaches its gateway all the time."""
    done = threading.Event()

    def reach(pod: Namespace) -> int:
        times = 0
        while not done.is_set():
            ping(pod, GATEWAY)
            times += 1
        return times

    with ThreadPoolExecutor(len(pods)) as pool:
        running = [pool.submit(reach, pod) for pod in pods]
        try:
            yield
        finally:
            done.set()
        assert all(task.result() for task in running)


def test_an_upgrade_from_a_release_without_it_shuts_out_nobody_who_runs(
    ready_node: Node, pods: list[Namespace]
) -> None:
    """s5: The guard knows all running pods, one with a MAC of its own too, before it shuts anybody out."""
    ready_node.stop()
    ready_node.netns.run("sh", "-c", "nft delete table bridge quilt || true")
    with reaching(pods):
        ready_node.start()
    assert forged(pods[0], pods[2]) == []


def test_it_stays_when_the_runtime_was_killed_and_its_state_lost(
    ready_node: Node, pods: list[Namespace]
) -> None:
    """s5: Without its database the runtime learns from the kernel who may send as whom."""
    ready_node.kill()
    for file in (ready_node.socket_dir / "state").glob("state.db*"):
        file.unlink()
    with reaching(pods):
        ready_node.start()
    assert forged(pods[0], pods[2]) == []


def test_a_pod_of_an_older_release_after_a_roll_back_is_not_shut_in(
    ready_node: Node, pods: list[Namespace], make_netns: Callable[[], Namespace]
) -> None:
    """t26: A runtime that stops leaves its pods held to their addresses, and new ones of others alone."""
    ready_node.stop()
    assert forged(pods[0], pods[2]) == []
    new, mac = make_netns(), mac_of("10.42.1.9")
    for command in (
        f"link add qv0a2a0109 type veth peer name eth0 address {mac} netns {new.path}",
        "link set qv0a2a0109 master quilt0 up",
    ):
        ready_node.netns.run("ip", *command.split())
    new.run("ip", "link", "set", "eth0", "up")
    new.run("ip", "address", "add", "10.42.1.9/24", "dev", "eth0")
    ping(new, GATEWAY)
    for pod in pods:
        ping(pod, GATEWAY)


@pytest.mark.parametrize(
    "command",
    [
        "nft delete table bridge quilt",
        "nft flush ruleset",
        "nft flush chain bridge quilt pod",
        "nft flush set bridge quilt own_v4",
        'nft add element bridge quilt own_v4 { "qv0a2a0102" . 0a:58:0a:2a:01:02 . 10.42.1.3 }',
    ],
)
def test_what_others_change_of_it_is_put_right(ready_node: Node, pods: list[Namespace], command: str) -> None:
    before = ready_node.netns.run(*LIST)
    ready_node.netns.run("sh", "-c", command.replace("{", "'{").replace("}", "}'"))
    sample = 'quilt_runtime_drift_repairs_total{kind="guard"}'
    eventually(lambda: ready_node.metric(sample) >= 1, f"the guard is repaired:\n{ready_node.log}")
    assert ready_node.netns.run(*LIST) == before
    for pod in pods:
        ping(pod, GATEWAY)


def test_a_pods_entries_are_removed_with_it(ready_node: Node, make_netns: Callable[[], Namespace]) -> None:
    without = ready_node.netns.run(*LIST)
    pod = make_netns()
    for wish in ({}, {"mac": OWN_MAC}, {}):
        address = ready_node.add_pod(pod, args={}, runtimeConfig={**wish, "ips": ["10.42.1.9"]})
        assert f'"qv0a2a0109" . {wish.get("mac") or mac_of(address)} . {address}' in ready_node.netns.run(
            *LIST
        )
        ping(pod, GATEWAY)
        assert ready_node.cni("DEL", pod.name, pod.path).code == 0
        assert ready_node.netns.run(*LIST) == without


def test_it_can_be_turned_off_for_pods_that_route_for_others(ready_node: Node, pods: list[Namespace]) -> None:
    for on, arriving in ((False, ["source", "straight"]), (True, [])):
        assert ready_node.config.Configure(node_pb2.ConfigureRequest(spoof_guard=on)).success
        assert forged(pods[0], pods[2]) == arriving
        tables = ready_node.netns.run("nft", "list", "ruleset")
        assert ("table bridge quilt" in tables, OUTSIDE in tables) == (on, on)
    assert ready_node.config.Configure(node_pb2.ConfigureRequest(spoof_guard=False)).success
    ready_node.stop()
    ready_node.start()
    assert forged(pods[0], pods[2]) == ["source", "straight"]
    assert ready_node.config.Configure(node_pb2.ConfigureRequest()).success
    assert forged(pods[0], pods[2]) == []


NO_BRIDGE_FAMILY = """#!/bin/sh
case "$*" in
*-f*)
  text=$(cat)
  case "$text" in
  *"table bridge"*) echo "Error: Could not process rule: No such file or directory" >&2; exit 1;;
  esac
  printf '%s\\n' "$text" | exec {nft} "$@";;
*) exec {nft} "$@";;
esac
"""


def test_a_kernel_that_cannot_filter_on_bridges_is_named_and_the_rest_works(
    make_node: Callable[[], Node],
    make_netns: Callable[[], Namespace],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = tmp_path / "nft"
    program.write_text(NO_BRIDGE_FAMILY.format(nft=shutil.which("nft")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    node, pod = make_node(), make_netns()
    node.start()
    node.give_subnet()
    node.add_pod(pod)
    ping(pod, GATEWAY)
    status = node.config.GetStatus(node_pb2.GetStatusRequest())
    assert list(status.problems) == []
    assert "NF_TABLES_BRIDGE" in " ".join(status.warnings)
    assert [event["level"] for event in node.events("guard_unsupported")] == ["warning"]
    assert OUTSIDE in node.netns.run("nft", "list", "table", "inet", "quilt")
