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
from bench.mesh import HOST_PORTS, MTU, Mesh, Pod, Shape, attached, nodes_of, populated, portmap
from bench.node import BenchError, Node, until
from bench.plugins import build_plugin
from bench.policed import enforced, pod_arguments, pod_name, program
from bench.switch import NETWORK, Switch, host
from quilt_crds.names import DEFAULT_NETWORK
from quilt_netlink import Address, Create, Link, Put, Vxlan
from quilt_nodeagent.core.overlay import VXLAN
from quilt_nodeagent.core.peer import Peer, make_peer
from quilt_nodeagent.core.peers import PeerTable, Way
from quilt_nodeagent.core.plan import make_plan
from quilt_nodeagent.core.underlay import Direct
from quilt_nodeagent.dataplane import Dataplane
from quilt_nodeagent.executor.client import NodeSettings, RuntimeClient
from quilt_nodeagent.executor.link import RuntimeLink
from quilt_nodeagent.metrics import Metrics
from quilt_policy.program import Profile

_CLUSTERS = ("10.42.0.0/16", "fd00:42::/48")
_CHAIN = re.compile(r"\s*chain (\S+) \{")
_NOTRACK = re.compile(r"\s*(?P<before>.*)notrack ?(?P<after>.*?) ?# handle (?P<handle>\d+)$")


def quilt(switch: Switch, shape: Shape, names: list[str]) -> Mesh:
    """Make the mesh."""
    nodes = nodes_of(switch, shape)
    claims = [_claims(number, shape) for number in shape.numbers]
    for node, own, peer in zip(nodes, claims, claims[::-1], strict=True):
        node.start_runtime()
        asyncio.run(_program(node, own, peer, shape))
        if shape.policies:
            asyncio.run(enforced(node, program(Profile(pod_name(name)) for name in names)))
    plugin = str(build_plugin(nodes[0].folder))

    def attach(node: Node, name: str) -> Pod:
        mapped = HOST_PORTS in shape.places and name == names[2]
        config = {"name": "quilt", "type": "quilt-cni", "socket": str(node.socket.with_name("cni.sock"))}
        chain = [(plugin, config), portmap("quilt", mapped=mapped)]
        return attached(node, name, chain, pod_arguments(name))

    return populated(shape, nodes, attach, names)


def _claims(number: int, shape: Shape) -> list[Peer]:
    """A node's claims, that of IPv4 first."""
    cidrs = [f"10.42.{number}.0/24", *([f"fd00:42:0:{number}::/64"] if shape.dual else [])]
    return [make_peer(DEFAULT_NETWORK, cidr, f"n{number}", "Up", host(number)) for cidr in cidrs]


async def _program(node: Node, own: list[Peer], peer: list[Peer], shape: Shape) -> None:
    """Make the device and tell kernel and runtime of the peer, as the agent does."""
    vxlan = Vxlan(100, 4789, own[0].host_ip)
    node.kernel.run(
        Create(Link(peers.DEVICE, kind="vxlan", mac=own[0].mac, mtu=MTU, up=True, addrgenmode=1, vxlan=vxlan))
    )
    link = node.kernel.link(peers.DEVICE)
    assert link is not None
    for claim in own:
        length = 128 if ":" in claim.vtep else 32
        node.kernel.run(Put(Address(link.index, f"{claim.vtep}/{length}")))
    client, metrics = RuntimeClient(f"unix://{node.socket}"), Metrics()
    try:
        await client.configure_subnet(own[0].cidr)
        await client.configure(_settings(own, peer, shape))
        runtime = RuntimeLink(client, metrics, restored=_nothing, changed=_nothing)
        dataplane = Dataplane(node.kernel, runtime, VXLAN, metrics)
        dataplane.index, dataplane.device = link.index, peers.DEVICE
        dataplane.look()
        dataplane.tables.want_all(_table(own, peer, shape).desired())
        errors = await dataplane.write(make_plan(dataplane.tables, dataplane.overlay))
        if errors:
            raise BenchError(f"the peer cannot be programmed: {errors[0]}")
    finally:
        await client.close()


def _settings(own: list[Peer], peer: list[Peer], shape: Shape) -> NodeSettings:
    return NodeSettings(
        _CLUSTERS[: len(own)],
        MTU,
        peers.DEVICE,
        4789,
        overlay_sources=frozenset({peer[0].host_ip}),
        subnet_v6=own[1].cidr if shape.dual else "",
        policies=shape.policies,
    )


def _table(own: list[Peer], peer: list[Peer], shape: Shape) -> PeerTable:
    table = PeerTable(own[0].node, peers.DEVICE)
    if shape.direct:
        table.follow(Way(peers.DEVICE, direct=Direct("eth0", {NETWORK: True})))
    table.replace(peer)
    return table


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
                node.run("nft", *part.split())
        yield there
    finally:
        for runtime in runtimes:
            runtime.popen.send_signal(signal.SIGCONT)
        if there:
            until(lambda: all(parts(node) for node in mesh.nodes), f"the {what} is back")


def _guard(node: Node) -> list[str]:
    """What deletes the table of the bridge guard, in nft's words."""
    return [f"delete {line}" for line in _nft(node, "list", "tables") if line == "table bridge quilt"]


def _untracking(node: Node) -> list[str]:
    """What makes the rules that keep overlay packets out of conntrack do all but that, in nft's words."""
    return tracking(_nft(node, "-a", "list", "table", "inet", "quilt"))


def tracking(listing: list[str]) -> list[str]:
    """The same, from the lines of a listing with handles: a rule may also accept a packet."""
    found, chain = [], ""
    for line in listing:
        if begun := _CHAIN.match(line):
            chain = begun[1]
        if rule := _NOTRACK.match(line):
            text = f"{rule['before']}{rule['after']}".strip()
            found.append(f"replace rule inet quilt {chain} handle {rule['handle']} {text}")
    return found


def _nft(node: Node, *arguments: str) -> list[str]:
    command = node.inside("nft", *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


_PARTS = {"guard": _guard, "untracking": _untracking}
