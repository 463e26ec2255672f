"""Nothing is lost by a kill, a damaged database or an absence of the runtime."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from threading import Event

import pytest

from quilt_proto import node_pb2
from quilt_runtime.core.ipam import veth_name
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node, eventually, held, ping, veths

Make = Callable[[], Namespace]


def test_allocations_outlive_a_kill(ready_node: Node, make_netns: Make) -> None:
    one, two = make_netns(), make_netns()
    first = ready_node.add_pod(one)
    ready_node.kill()
    ping(one, "10.42.1.1")
    ready_node.start()
    assert held(ready_node) == {one.name: first}
    assert ready_node.add_pod(two) != first
    ping(two, first)


@pytest.mark.parametrize("damage", ["garbage", "other schema", "removed"])
def test_a_lost_database_is_rebuilt_from_the_kernel(ready_node: Node, make_netns: Make, damage: str) -> None:
    one, two = make_netns(), make_netns()
    result = ready_node.cni("ADD", one.name, one.path).document
    ready_node.kill()
    state = ready_node.socket_dir / "state" / "state.db"
    for suffix in ("-wal", "-shm"):
        state.with_name(state.name + suffix).unlink(missing_ok=True)
    if damage == "garbage":
        state.write_bytes(os.urandom(8192))
    elif damage == "removed":
        state.unlink()
    else:
        state.unlink()
        with sqlite3.connect(state) as other:
            other.execute("PRAGMA user_version = 99")
    ready_node.start()
    assert [e["addresses"] for e in ready_node.events("state_recovered_from_kernel")] == [1]
    assert len(list(state.parent.glob("state.db.unreadable-*"))) == (damage != "removed")
    assert list(held(ready_node).values()) == ["10.42.1.2"]
    assert ready_node.add_pod(two) == "10.42.1.3"
    ping(two, "10.42.1.2")
    assert ready_node.cni("DEL", one.name, prevResult=result).code == 0
    assert list(held(ready_node).values()) == ["10.42.1.3"]


def test_a_recovered_address_is_freed_with_its_interface(ready_node: Node, make_netns: Make) -> None:
    pod = make_netns()
    ready_node.add_pod(pod)
    ready_node.kill()
    (ready_node.socket_dir / "state" / "state.db").unlink()
    ready_node.start()
    assert len(held(ready_node)) == 1
    pod.run("ip", "link", "del", "eth0")
    eventually(lambda: held(ready_node) == {}, "the address is free")


@pytest.mark.kernel
def test_what_died_without_a_runtime_is_freed_at_its_start(ready_node: Node, make_netns: Make) -> None:
    dead, alive = make_netns(), make_netns()
    ready_node.add_pod(dead)
    kept = ready_node.add_pod(alive)
    ready_node.ipam.AllocateIp(node_pb2.AllocateIpRequest(container_id="other", interface="eth0"))
    ready_node.kill()
    assert ready_node.cni("DEL", dead.name, dead.path).code == 0
    dead.run("ip", "link", "del", "eth0")
    ready_node.start()
    assert held(ready_node) == {alive.name: kept, "other": "10.42.1.4"}


def test_row_26_without_a_runtime_pods_can_be_deleted_but_not_added(
    ready_node: Node, make_netns: Make
) -> None:
    """FIELD-BUGS 26: pods stick after the runtime is gone."""
    pod = make_netns()
    ready_node.add_pod(pod)
    ready_node.kill()
    assert ready_node.cni("DEL", pod.name, pod.path).code == 0
    refused = ready_node.cni("ADD", pod.name, pod.path)
    assert refused.document["code"] == 11
    assert "is the quilt pod of this node running?" in refused.document["msg"]
    assert ready_node.cni("STATUS", version="1.1.0").document["code"] == 50


def test_kills_in_the_midst_of_churn_lose_and_double_nothing(ready_node: Node, make_netns: Make) -> None:
    pods = [make_netns() for _ in range(8)]
    done = Event()

    def churn(pod: Namespace) -> None:
        """Add and delete as a kubelet does: a call that fails is tried again until it succeeds."""
        while not done.is_set():
            for verb in ("ADD", "DEL"):
                while ready_node.cni(verb, pod.name, pod.path, timeoutSeconds=5).code and not done.is_set():
                    if verb == "ADD":
                        ready_node.cni("DEL", pod.name, pod.path, timeoutSeconds=5)

    with ThreadPoolExecutor(len(pods)) as pool:
        workers = [pool.submit(churn, pod) for pod in pods]
        try:
            for pause in (0.3, 0.05, 0.2, 0.11, 0.4):
                done.wait(pause)
                ready_node.kill()
                ready_node.start()
        finally:
            done.set()
        for worker in workers:
            worker.result()
    alive = []
    for pod in pods[:4]:
        ready_node.cni("DEL", pod.name, pod.path)
        alive.append((pod, ready_node.add_pod(pod)))
    valid = [{"containerID": pod.name, "ifname": "eth0"} for pod, _ in alive]
    assert ready_node.cni("GC", version="1.1.0", **{"cni.dev/valid-attachments": valid}).code == 0
    assert held(ready_node) == {pod.name: address for pod, address in alive}
    assert veths(ready_node) == sorted(veth_name(IPv4Address(address)) for _, address in alive)
    for pod, address in alive:
        ping(ready_node.netns, address)
        ping(pod, alive[0][1])
