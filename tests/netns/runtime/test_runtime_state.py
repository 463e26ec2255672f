"""What the runtime remembers, on a full file system, of another release, and of containers that are gone."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from quilt_proto import node_pb2
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node, eventually, held, show, veths

Make = Callable[[], Namespace]
OFTEN = """
from quilt_runtime import drift
from quilt_runtime.main import main

drift.RESYNC_S = 1.0
main()
"""


@pytest.fixture
def small(make_node: Callable[[], Node]) -> Iterator[Node]:
    """A node whose /run is 2 MiB, with a subnet."""
    node = make_node()
    node.socket_dir.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "quilt-test", str(node.socket_dir)]
    subprocess.run(mount, check=True)
    try:
        node.start()
        node.give_subnet()
        yield node
    finally:
        node.close()
        subprocess.run(["umount", str(node.socket_dir)], check=True)


def fill(node: Node) -> Path:
    """Leave not one byte of space; return the file that uses it."""
    path = node.socket_dir / "fill"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    assert os.statvfs(node.socket_dir).f_bavail == 0
    return path


def allocate(node: Node, container: str) -> str:
    request = node_pb2.AllocateIpRequest(container_id=container, interface="tap0")
    answer = node.ipam.AllocateIp(request)
    assert answer.success, answer.error
    return str(answer.addresses[0].removesuffix("/32"))


def test_a_start_on_a_full_file_system_forgets_nobody(small: Node, make_netns: Make) -> None:
    """t23: A runtime that is restarted while /run is full keeps every owner once there is space again."""
    pod = make_netns()
    owners = {pod.name: small.add_pod(pod), "vm1": allocate(small, "vm1")}
    assert small.stop() == 0
    taken = fill(small)
    with suppress(AssertionError):  # it need not come up
        small.start()
    if small.process is not None:
        small.process.terminate()
        small.process.wait()
    taken.unlink()
    small.start()
    assert held(small) == owners
    assert allocate(small, "vm2") not in owners.values()
    assert not list(small.socket_dir.glob("state/*.unreadable-*"))


def test_pods_can_be_deleted_on_a_full_file_system(small: Node, make_netns: Make) -> None:
    """t23: DEL succeeds on a full /run, and what it freed is free: for later pods, and after a restart."""
    pods = [make_netns() for _ in range(3)]
    addresses = [small.add_pod(pod) for pod in pods]
    taken = fill(small)
    for pod in pods[:2]:
        result = small.cni("DEL", pod.name, pod.path)
        assert (result.code, result.document) == (0, {})
    assert held(small) == {pods[2].name: addresses[2]}
    assert len(veths(small)) == 1
    small.kill()
    taken.unlink()
    small.start()
    assert held(small) == {pods[2].name: addresses[2]}
    again = [small.add_pod(pod) for pod in pods[:2]]
    assert len({*again, addresses[2]}) == 3


def test_what_could_not_be_recorded_is_made_good_with_the_next_change(small: Node, make_netns: Make) -> None:
    """t23: An address freed on a full /run is given again once there is space, without a restart."""
    wished = {"runtimeConfig": {"ips": ["10.42.1.77"]}}
    first, second = make_netns(), make_netns()
    small.add_pod(first, **wished)
    taken = fill(small)
    assert small.cni("DEL", first.name, first.path).code == 0
    taken.unlink()
    assert small.add_pod(second, **wished) == "10.42.1.77"
    small.kill()
    small.start()
    assert held(small) == {second.name: "10.42.1.77"}


def test_the_state_of_a_newer_release_is_taken(ready_node: Node, make_netns: Make) -> None:
    """t26: After a roll-back the runtime restores the settings and addresses that it knows, no more."""
    assert ready_node.config.Configure(node_pb2.ConfigureRequest(mtu=1400)).success
    pod = make_netns()
    owners = {pod.name: ready_node.add_pod(pod)}
    ready_node.stop()
    with closing(sqlite3.connect(ready_node.socket_dir / "state" / "state.db")) as database, database:
        ((text,),) = database.execute("SELECT value FROM meta WHERE key = 'config'")
        document = {**json.loads(text), "a_new_setting": True, "fast_leave": {"of": "another type"}}
        del document["vxlan_port"]
        database.execute("UPDATE meta SET value = ? WHERE key = 'config'", (json.dumps(document),))
        database.execute("INSERT INTO meta VALUES ('a_new_key', '[1]')")
        database.execute("ALTER TABLE allocations ADD COLUMN a_new_column TEXT")
    ready_node.start()
    assert held(ready_node) == owners
    assert show(ready_node.netns, "link", "show", "quilt0")[0]["mtu"] == 1400
    owners |= {"vm1": allocate(ready_node, "vm1")}
    assert held(ready_node) == owners


def test_the_address_of_a_pod_deleted_meanwhile_is_free_once_its_namespace_is_gone(
    ready_node: Node, make_netns: Make
) -> None:
    """t27: DEL while no runtime ran, which is back before the namespace is removed: free at next resync."""
    pod, other = make_netns(), make_netns()
    ready_node.add_pod(pod)
    stays = ready_node.add_pod(other)
    ready_node.kill()
    assert ready_node.cni("DEL", pod.name, pod.path).code == 0
    ready_node.start(program=("-c", OFTEN))
    assert pod.name in held(ready_node), "its interface is still there"
    subprocess.run(["ip", "netns", "del", pod.name], check=True)

    eventually(lambda: held(ready_node) == {other.name: stays}, "a resync frees it")
