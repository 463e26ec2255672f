"""Failures reported of others, on the real kernel: masquerading (row 9)."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.support.namespaces import Namespace
from tests.support.runtime_node import Node

RECEIVE = """
import socket, sys
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("0.0.0.0", int(sys.argv[2])))
receiver.settimeout(30)
print("ready", flush=True)
for _ in range(int(sys.argv[1])):
    print(receiver.recvfrom(99)[1][1], flush=True)
"""
SEND = """
import socket, sys
for port in range(int(sys.argv[1]), int(sys.argv[2])):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.bind(("", port))
    sender.sendto(b"x", ("198.18.0.2", int(sys.argv[3])))
"""


def source_ports(outside: Namespace, sender: Namespace, ports: range, to: int) -> list[int]:
    """Send a datagram from each port to the port `to` outside; where they came from."""
    command = ["ip", "netns", "exec", outside.name, "python3", "-c", RECEIVE, str(len(ports)), str(to)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        try:
            assert receiver.stdout.readline() == "ready\n"
            sender.run("python3", "-c", SEND, str(ports.start), str(ports.stop), str(to))
            return [int(line) for line in receiver.stdout]
        finally:
            receiver.kill()


def uplink(node: Node, outside: Namespace) -> None:
    node.netns.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", outside.name)
    node.netns.run("ip", "addr", "add", "198.18.0.1/24", "dev", "up0")
    node.netns.run("ip", "link", "set", "up0", "up")
    outside.run("ip", "addr", "add", "198.18.0.2/24", "dev", "eth0")
    outside.run("ip", "link", "set", "eth0", "up")


def test_row_9_masquerading_never_uses_the_overlays_port_nor_touches_the_overlay(
    ready_node: Node, make_netns: Callable[[], Namespace]
) -> None:
    outside, pod = make_netns(), make_netns()
    uplink(ready_node, outside)
    ready_node.add_pod(pod)
    # Another port than 4789 on the way out, whatever the pod's own port is, 4789 included.
    taken = source_ports(outside, pod, range(4780, 4800), 9999)
    assert len(taken) == 20
    assert min(taken) >= 16384
    # What the node itself sends to its peers' overlay port is left as it is.
    ports = range(50000, 50020)
    assert source_ports(outside, ready_node.netns, ports, 4789) == list(ports)


def test_row_9_a_restart_never_leaves_pods_without_masquerading(
    ready_node: Node, make_netns: Callable[[], Namespace]
) -> None:
    ready_node.add_pod(make_netns())
    listing = ("nft", "list", "chain", "inet", "quilt", "postrouting")
    before = ready_node.netns.run(*listing)
    assert "masquerade" in ready_node.netns.run("nft", "list", "chain", "inet", "quilt", "leaving")
    done = threading.Event()

    def look() -> int:
        looks = 0
        while not done.is_set():
            assert ready_node.netns.run(*listing) == before
            looks += 1
        return looks

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(look)
        for end in (ready_node.stop, ready_node.kill):
            end()
            ready_node.start()
        done.set()
        assert watching.result() > 10
