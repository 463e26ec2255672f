"""Multicast on: the bridge asks for members, pods' ports leave at once, TTL 1 survives; off: as before."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from quilt_netlink import FAST_LEAVE, PLAIN, BridgeGroup, MulticastKernel, Snooping
from quilt_proto import node_pb2
from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node, eventually

RULE = 'counter name "multicast_from_pod" drop'


def configure(node: Node, on: bool, fast_leave: bool = True) -> None:
    request = node_pb2.ConfigureRequest(multicast=on, multicast_fast_leave=fast_leave)
    answer = node.config.Configure(request)
    assert answer.success, answer.error


def snooping(node: Node) -> Snooping | None:
    with MulticastKernel.open(node.netns.path) as kernel:
        bridge = kernel.link("quilt0")
        return kernel.snooping(bridge.index) if bridge else None


def is_plain(node: Node) -> bool:
    """Whether the bridge is as the kernel makes it; its default intervals depend on the clock's rate."""
    held = snooping(node)
    return held is not None and replace(held, startup_query_intvl=3125) == PLAIN


def fast_leave(node: Node, port: str) -> int | None:
    with MulticastKernel.open(node.netns.path) as kernel:
        link = kernel.link(port)
        return kernel.port(link.index).get(FAST_LEAVE) if link else None


def rules(node: Node) -> str:
    return node.netns.run("nft", "list", "table", "inet", "quilt")


@pytest.mark.kernel
def test_on_and_off(ready_node: Node, make_netns: Callable[[], Namespace]) -> None:
    ready_node.add_pod(make_netns())
    assert is_plain(ready_node)
    assert RULE not in rules(ready_node)
    configure(ready_node, on=True)
    assert snooping(ready_node) == Snooping()
    assert RULE in rules(ready_node)
    assert fast_leave(ready_node, "qv0a2a0102")
    ready_node.add_pod(make_netns())
    assert fast_leave(ready_node, "qv0a2a0103")
    configure(ready_node, on=True, fast_leave=False)
    assert not fast_leave(ready_node, "qv0a2a0102")
    configure(ready_node, on=False)
    assert is_plain(ready_node)
    assert RULE not in rules(ready_node)


def test_it_survives_restart_and_new_bridge(ready_node: Node, make_netns: Callable[[], Namespace]) -> None:
    ready_node.add_pod(make_netns())
    configure(ready_node, on=True)
    ready_node.kill()
    ready_node.netns.run("ip", "link", "del", "quilt0")
    ready_node.start()
    eventually(lambda: snooping(ready_node) == Snooping(), "the new bridge snoops")
    eventually(lambda: fast_leave(ready_node, "qv0a2a0102"), "the port leaves at once")
    assert RULE in rules(ready_node)


def test_what_others_change_is_put_right(ready_node: Node) -> None:
    configure(ready_node, on=True)
    ready_node.netns.run("ip", "link", "set", "quilt0", "type", "bridge", "mcast_querier", "0")
    eventually(lambda: snooping(ready_node) == Snooping(), "the bridge is the querier again")


def test_a_pods_interface_says_whose_it_is(ready_node: Node, make_netns: Callable[[], Namespace]) -> None:
    kubernetes = "IgnoreUnknown=1;K8S_POD_NAMESPACE=media;K8S_POD_NAME=camera-0;K8S_POD_INFRA_CONTAINER_ID=x"
    for arguments in (kubernetes, ""):
        ready_node.add_pod(make_netns(), arguments=arguments)
    with MulticastKernel.open(ready_node.netns.path) as kernel:
        assert kernel.alias("qv0a2a0102") == "media/camera-0"
        assert kernel.alias("qv0a2a0103") == ""
        assert kernel.alias("qv0a2a0104") is None


JOINS = """
import socket, struct, sys
sockets, first, count = [], int(sys.argv[1]), int(sys.argv[2])
for number in range(count):
    if number % 20 == 0:
        sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    group = struct.pack("!I", first + number)
    sockets[-1].setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + bytes(4))
print("joined", flush=True)
sys.stdin.read()
"""


@contextmanager
def member_of(pod: Namespace, first: str, count: int) -> Iterator[None]:
    """A pod's program without privileges that is a member of so many groups from `first` on."""
    number = int.from_bytes(socket.inet_aton(first))
    command = ["ip", "netns", "exec", pod.name, "setpriv", "--reuid=65534", "--clear-groups"]
    command += [sys.executable, "-c", JOINS, str(number), str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == b"joined\n"
        yield
        program.stdin.close()


def learned(node: Node) -> set[str]:
    with MulticastKernel.open(node.netns.path) as kernel:
        return {entry.group for entry in kernel.groups() if isinstance(entry, BridgeGroup)}


def test_a_pod_that_joins_thousands_of_groups_does_not_end_snooping_for_all(
    ready_node: Node, make_netns: Callable[[], Namespace]
) -> None:
    """s6: A pod's 5,000 joins fill its own part of the bridge's table; snooping and others' joins go on."""
    configure(ready_node, on=True)
    greedy, modest = make_netns(), make_netns()
    for pod in (greedy, modest):
        ready_node.add_pod(pod)
    with member_of(greedy, "239.2.0.1", 5000):
        eventually(lambda: len(learned(ready_node)) >= 4000, "the bridge learns")
        with member_of(modest, "239.9.0.1", 1):
            eventually(lambda: "239.9.0.1" in learned(ready_node), "another pod's join counts")
            assert snooping(ready_node) == Snooping()
    repairs = [line for line in ready_node.log.splitlines() if "drift" in line and "snooping" in line]
    assert not repairs, "the kernel never gave snooping up"
