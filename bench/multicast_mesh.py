"""Three nodes and a pod on each, in network namespaces; the agent's multicast is a process on each node."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.multicast_node import NODES
from bench.netns import inside
from quilt_crds.names import POD_INTERFACE_PREFIX, vtep_mac
from quilt_netlink import MulticastKernel, Snooping
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.firewall import Firewall, ruleset

PORT = 5000
_NAME = f"quilt-bench-mc-{os.getpid()}"

_NODE = """
ip link add eth0 type veth peer name u{i} netns {underlay}
ip addr add 198.18.200.{i}/24 dev eth0
ip link set eth0 up
ip -n {underlay} link set u{i} master br0 up
ip link add vxlan100 address {mac} mtu 1450 type vxlan id 100 local 198.18.200.{i} dstport 4789 nolearning
ip addr add 10.42.{i}.0/32 dev vxlan100
ip link set vxlan100 up
ip link add quilt0 type bridge
ip addr add 10.42.{i}.1/24 dev quilt0
ip link set quilt0 up
sysctl -qw net.ipv4.ip_forward=1
ip link add {port} type veth peer name eth0 netns {pod}
ip link set {port} alias default/pod-{i}
ip link set {port} master quilt0 up
bridge link set dev {port} hairpin on fastleave {fast}
ip -n {pod} addr add 10.42.{i}.10/32 dev eth0
ip -n {pod} link set eth0 up
ip -n {pod} route add default via 10.42.{i}.1 dev eth0 onlink
"""
_PEER = """
ip neigh add 10.42.{j}.0 lladdr {mac} dev vxlan100 nud permanent
bridge fdb add {mac} dev vxlan100 dst 198.18.200.{j} self permanent
ip route add 10.42.{j}.0/24 via 10.42.{j}.0 dev vxlan100 onlink
"""


class MulticastMesh:
    """A context: everything of it ends with it. `pid(node)` is the process that is measured."""

    def __init__(self, *, fast_leave: bool = True) -> None:
        self._fast_leave = fast_leave
        self._stack = ExitStack()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._key = key = folder / "key"
            key.write_bytes(os.urandom(32).hex().encode())
            self._namespace(stack, "u")
            self._run("u", "ip link add br0 type bridge mcast_snooping 0; ip link set br0 up")
            for number in NODES:
                self._make(stack, number)
            for number in NODES:
                self._start(stack, number, key)
            self._stack = stack.pop_all()
        time.sleep(2)  # the nodes have exchanged members, and the bridges' queriers have begun
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def pid(self, number: int) -> int:
        return self._processes[number].pid

    def restart(self, number: int) -> float:
        """Kill a node's process as a fault does, start its successor; return when, by perf_counter."""
        dead = self._processes[number]
        dead.kill()
        dead.wait()
        started = time.perf_counter()
        self._start(self._stack, number, self._key)
        return started

    def node(self, number: int) -> str:
        return f"{_NAME}-n{number}"

    def pod(self, number: int) -> str:
        """Name of the namespace of a node's pod."""
        return f"{_NAME}-p{number}"

    def receiver(self, number: int, group: str) -> socket.socket:
        """A socket in a node's pod, bound to the group and not a member yet."""
        sock = inside(self.pod(number), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._stack.callback(sock.close)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((group, PORT))
        return sock

    def sender(self, number: int) -> socket.socket:
        """A socket in a node's pod, with the default TTL."""
        sock = inside(self.pod(number), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._stack.callback(sock.close)
        return sock

    def received(self, number: int) -> Callable[[], int]:
        """Return what reads how many packets a node's VXLAN device has received."""
        file = inside(self.node(number), lambda: os.open("/proc/thread-self/net/dev", os.O_RDONLY))
        self._stack.callback(os.close, file)

        def read() -> int:
            text = os.pread(file, 8192, 0).decode()
            line = next(line for line in text.splitlines() if "vxlan100:" in line)
            return int(line.partition(":")[2].split()[1])

        return read

    def _namespace(self, stack: ExitStack, suffix: str) -> str:
        name = f"{_NAME}-{suffix}"
        subprocess.run(["ip", "netns", "add", name], check=True)
        stack.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
        return name

    def _run(self, suffix: str, script: str, stdin: str | None = None) -> None:
        command = ["ip", "netns", "exec", f"{_NAME}-{suffix}", "sh", "-ec", script]
        subprocess.run(command, check=True, input=stdin, text=True)

    def _make(self, stack: ExitStack, number: int) -> None:
        node, pod = f"n{number}", f"p{number}"
        self._namespace(stack, node)
        self._namespace(stack, pod)
        fast = "on" if self._fast_leave else "off"
        port = f"{POD_INTERFACE_PREFIX}{int(IPv4Address(f'10.42.{number}.10')):08x}"
        names = {"underlay": f"{_NAME}-u", "pod": f"{_NAME}-{pod}", "port": port}
        script = _NODE.format(i=number, fast=fast, mac=_mac(number), **names)
        for peer in NODES:
            if peer != number:
                script += _PEER.format(j=peer, mac=_mac(peer))
        self._run(node, script)
        sources = frozenset(f"198.18.200.{n}" for n in NODES)
        config = NodeConfig(overlay_sources=sources, multicast=True, spoof_guard=False)
        table = Firewall(config, IPv4Network(f"10.42.{number}.0/24"))
        for transaction in ruleset(table):
            self._run(node, "nft -f -", stdin=transaction)
        with MulticastKernel.open(f"/run/netns/{self.node(number)}") as kernel:
            bridge = kernel.link("quilt0")
            assert bridge is not None
            kernel.set_snooping(bridge.index, Snooping())

    def _start(self, stack: ExitStack, number: int, key: Path) -> None:
        command = ["ip", "netns", "exec", self.node(number), sys.executable, "-m", "bench.multicast_node"]
        command += [str(number), str(key), str(int(self._fast_leave))]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._processes[number] = process
        stack.callback(process.wait)
        stack.callback(process.terminate)


def _mac(number: int) -> str:
    return vtep_mac("default", f"node-{number}")


def membership(group: str) -> bytes:
    """The argument of IP_ADD_MEMBERSHIP and IP_DROP_MEMBERSHIP."""
    return socket.inet_aton(group) + bytes(4)


def numbered(number: int) -> bytes:
    """A packet's payload."""
    return struct.pack("!Q", number)
