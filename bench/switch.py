"""A switch in a namespace of its own: nodes of several meshes side by side, and etcd for whom it serves."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from bench.node import Node, in_namespace, until
from quilt_devcluster.binaries import program

NETWORK = "198.18.200.0/24"
_ETCD = "http://198.18.200.250:2379"
# What kubeadm asks for, and the loose source check that systemd gives every interface.
_HOST = (
    "net.ipv4.ip_forward=1",
    "net.bridge.bridge-nf-call-iptables=1",
    "net.bridge.bridge-nf-call-ip6tables=1",
    "net.ipv4.conf.default.rp_filter=2",
)


class Switch:
    """The network that all nodes are on: a bridge in a namespace of its own."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._serves = False
        self.name = f"quilt-bench-{os.getpid()}-switch"
        self.netns = f"/run/netns/{self.name}"
        _run("ip", "netns", "add", self.name)
        stack.callback(subprocess.run, ["ip", "netns", "del", self.name], check=False)
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        self.run("ip", "address", "add", "198.18.200.250/24", "dev", "br0")
        self.run("ip", "link", "set", "br0", "up")

    def run(self, *command: str) -> None:
        _run("ip", "netns", "exec", self.name, *command)

    def node(self, number: int) -> Node:
        """A new node with the address of its number, set up as people's hosts are.

        It forwards, has iptables see bridged packets and checks sources loosely, whatever mesh is on it.
        """
        node = self._stack.enter_context(Node(f"n{number}"))
        node.run("sysctl", "-qw", *_HOST)
        port = f"port{number}"
        self.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", node.name)
        self.run("ip", "link", "set", port, "master", "br0", "up")
        node.run("ip", "address", "add", f"{host(number)}/24", "dev", "eth0")
        node.run("ip", "link", "set", "eth0", "up")
        return node

    def etcd(self, holding: Mapping[str, str]) -> str:
        """Serve etcd to the nodes, holding this as well; return its URL."""
        if not self._serves:
            self._start_etcd()
            self._serves = True
        for key, value in holding.items():
            until(lambda key=key, value=value: self._put(key, value), "etcd serves")  # type: ignore[misc]
        return _ETCD

    def _start_etcd(self) -> None:
        """In memory, as nothing of it is measured."""
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="quilt-bench-", dir="/dev/shm"))
        urls = (f"--listen-client-urls={_ETCD}", f"--advertise-client-urls={_ETCD}")
        command = [
            program("etcd"),
            f"--data-dir={folder}/etcd",
            *urls,
            "--listen-peer-urls=http://127.0.0.1:2380",
        ]
        with Path(folder, "log").open("wb") as log:
            etcd = subprocess.Popen(
                ["nsenter", f"--net={self.netns}", "--", *map(str, command)], stdout=log, stderr=log
            )
        self._stack.callback(etcd.wait)
        self._stack.callback(etcd.terminate)

    def _put(self, key: str, value: str) -> bool:
        pair = {"key": _encoded(key), "value": _encoded(value)}
        request = urllib.request.Request(f"{_ETCD}/v3/kv/put", json.dumps(pair).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            in_namespace(self.netns, lambda: opener.open(request, timeout=5).close())
        except OSError:
            return False
        return True


def host(number: int) -> str:
    """The address of a node on the switch."""
    return f"198.18.200.{number}"


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
