"""Our mesh of two nodes: the real runtime on each, and the agent's own dataplane, plan and writer.

These are given the one peer. No API server is needed: it sends no packet.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from bench import peers
from bench.mesh import MTU, Mesh, Pod, attached, populated
from bench.node import BenchError, Node, until
from bench.plugins import build_plugin
from bench.switch import Switch, host
from quilt_crds.names import DEFAULT_NETWORK
from quilt_netlink import Create, Link, Vxlan
from quilt_nodeagent.core.overlay import VXLAN
from quilt_nodeagent.core.peer import Peer, make_peer
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.core.plan import make_plan
from quilt_nodeagent.dataplane import Dataplane
from quilt_nodeagent.executor.client import NodeSettings, RuntimeClient
from quilt_nodeagent.executor.link import RuntimeLink
from quilt_nodeagent.metrics import Metrics

_CLUSTER = "10.42.0.0/16"
_CHAIN = re.compile(r"\s*chain (\S+) \{")
_NOTRACK = re.compile(r"notrack.* # handle (\d+)$")


def quilt(switch: Switch, numbers: tuple[int, int], names: list[str]) -> Mesh:
    """Our mesh, of the nodes of these numbers."""
    nodes = switch.node(numbers[0]), switch.node(numbers[1])
    claims = [make_peer(DEFAULT_NETWORK, f"10.42.{n}.0/24", f"n{n}", "Up", host(n)) for n in numbers]
    for node, own, peer in zip(nodes, claims, claims[::-1], strict=True):
        node.start_runtime()
        asyncio.run(_program(node, own, peer))
    plugin = str(build_plugin(nodes[0].folder))

    def attach(node: Node, name: str) -> Pod:
        config = {"name": "quilt", "type": "quilt-cni", "socket": str(node.socket.with_name("cni.sock"))}
        return attached(node, name, [(plugin, config)])

    return populated(nodes, attach, names)


async def _program(node: Node, own: Peer, peer: Peer) -> None:
    """Make the device and tell kernel and runtime of the peer, as the agent does."""
    vxlan = Vxlan(100, 4789, own.host_ip)
    node.kernel.run(
        Create(Link(peers.DEVICE, kind="vxlan", mac=own.mac, mtu=MTU, up=True, addrgenmode=1, vxlan=vxlan))
    )
    node.run("ip", "address", "add", f"{own.vtep}/32", "dev", peers.DEVICE)
    client, metrics = RuntimeClient(f"unix://{node.socket}"), Metrics()
    try:
        await client.configure_subnet(own.cidr)
        await client.configure(
            NodeSettings((_CLUSTER,), MTU, peers.DEVICE, 4789, overlay_sources=frozenset({peer.host_ip}))
        )
        runtime = RuntimeLink(client, metrics, restored=_nothing, changed=_nothing)
        dataplane = Dataplane(node.kernel, runtime, VXLAN, metrics)
        link = node.kernel.link(peers.DEVICE)
        assert link is not None
        dataplane.index = link.index
        dataplane.look()
        table = PeerTable(own.node, peers.DEVICE)
        table.replace([peer])
        dataplane.tables.want_all(table.desired())
        errors = await dataplane.write(make_plan(dataplane.tables, dataplane.overlay))
        if errors:
            raise BenchError(f"the peer cannot be programmed: {errors[0]}")
    finally:
        await client.close()


def _nothing() -> None:
    pass


@contextmanager
def without(mesh: Mesh, what: str) -> Iterator[bool]:
    """Our mesh without "guard" or "untracking"; tells whether there was such a thing. Put right afterwards.

    The runtimes are held meanwhile: they would repair it.
    """
    runtimes = [node.runtime for node in mesh.nodes if node.runtime]
    parts = _PARTS[what]
    there = all(parts(node) for node in mesh.nodes)
    for runtime in runtimes:
        runtime.popen.send_signal(signal.SIGSTOP)
    try:
        for node in mesh.nodes:
            for part in parts(node):
                node.run("nft", "delete", *part.split())
        yield there
    finally:
        for runtime in runtimes:
            runtime.popen.send_signal(signal.SIGCONT)
        if there:
            until(lambda: all(parts(node) for node in mesh.nodes), f"the {what} is back")


def _guard(node: Node) -> list[str]:
    """The table of the bridge guard, as nft's delete names it."""
    return [line for line in _nft(node, "list", "tables") if line == "table bridge quilt"]


def _untracking(node: Node) -> list[str]:
    """The rules that keep overlay packets out of conntrack, as nft's delete names them."""
    found, chain = [], ""
    for line in _nft(node, "-a", "list", "table", "inet", "quilt"):
        if begun := _CHAIN.match(line):
            chain = begun[1]
        if rule := _NOTRACK.search(line):
            found.append(f"rule inet quilt {chain} handle {rule[1]}")
    return found


def _nft(node: Node, *arguments: str) -> list[str]:
    command = node.inside("nft", *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


_PARTS = {"guard": _guard, "untracking": _untracking}
