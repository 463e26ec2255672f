"""Two meshes of two nodes each on one switch: Quilt Mesh, and Flannel with the plugins of its manifest.

Every node is a network namespace, every pod one of its node's, attached by the mesh's own CNI plugins. Quilt
Mesh has the real runtime on each node, and the agent's own dataplane, plan and writer configured with the one
peer. Flannel has flanneld, which finds its peer in etcd, `bridge` with `host-local`, and `portmap`. No API
server is needed: it sends no packet. What kube-proxy writes for a Service is on the client's node of both.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Any

from bench import flannel, peers
from bench.node import BenchError, Node, until
from bench.plugins import Call, Engine, build_plugin
from bench.switch import Switch, host
from quilt_crds.names import DEFAULT_NETWORK
from quilt_devcluster.binaries import Progress, cni_plugin_dir
from quilt_netlink import Create, Link, Vxlan
from quilt_nodeagent.core.overlay import VXLAN
from quilt_nodeagent.core.peer import Peer, make_peer
from quilt_nodeagent.core.peers import PeerTable
from quilt_nodeagent.core.plan import make_plan
from quilt_nodeagent.dataplane import Dataplane
from quilt_nodeagent.executor.client import NodeSettings, RuntimeClient
from quilt_nodeagent.executor.link import RuntimeLink
from quilt_nodeagent.metrics import Metrics

SERVICE = "10.96.0.9"
MTU = 1450
PODS = 3
Json = dict[str, Any]
Attach = Callable[[Node, str], "Pod"]
_CLUSTER = "10.42.0.0/16"
_KEY = "/coreos.com/network/config"
_FLANNEL: Json = {"Network": "10.44.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}
_CHAIN = re.compile(r"\s*chain (\S+) \{")
_NOTRACK = re.compile(r"notrack.* # handle (\d+)$")


@dataclass(frozen=True)
class Pod:
    """A pod's namespace and address."""

    netns: str
    address: str


@dataclass(frozen=True)
class Mesh:
    """Two nodes and three pods: a client, one beside it, one on the other node."""

    nodes: tuple[Node, Node]
    client: Pod
    beside: Pod
    other: Pod

    @property
    def places(self) -> dict[str, str]:
        """Where the client's traffic is sent, by the name of the place."""
        return {"other node": self.other.address, "same node": self.beside.address, "ClusterIP": SERVICE}


def quilt(switch: Switch, names: list[str]) -> Mesh:
    """Our mesh, of the nodes 1 and 2."""
    nodes = switch.node(1), switch.node(2)
    claims = [make_peer(DEFAULT_NETWORK, f"10.42.{n}.0/24", f"n{n}", "Up", host(n)) for n in (1, 2)]
    for node, own, peer in zip(nodes, claims, claims[::-1], strict=True):
        node.start_runtime()
        asyncio.run(_program(node, own, peer))
    plugin = str(build_plugin(nodes[0].folder))

    def attach(node: Node, name: str) -> Pod:
        config = {"name": "quilt", "type": "quilt-cni", "socket": str(node.socket.with_name("cni.sock"))}
        return _attach(node, name, [(plugin, config)])

    return _mesh(nodes, attach, names)


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


def flanneled(switch: Switch, names: list[str], say: Progress) -> Mesh:
    """Flannel's mesh, of the nodes 3 and 4, with its manifest's rules."""
    built = flannel.program(say)
    etcd = switch.start_etcd({_KEY: json.dumps(_FLANNEL)})
    nodes = switch.node(3), switch.node(4)
    files = [node.folder / "subnet.env" for node in nodes]
    for node, file in zip(nodes, files, strict=True):
        options = {"etcd-endpoints": etcd, "subnet-file": file, "iface": "eth0"}
        options |= {"ip-masq": "true", "iptables-forward-rules": "true"}
        node.start_agent_program([str(built), *(f"--{name}={value}" for name, value in options.items())])
    until(lambda: all(file.exists() for file in files), "flanneld has a subnet")
    subnets = {node.name: _subnet(file.read_text()) for node, file in zip(nodes, files, strict=True)}
    for node, other in zip(nodes, nodes[::-1], strict=True):
        _until_routed(node, subnets[other.name])
    plugins = cni_plugin_dir()

    def attach(node: Node, name: str) -> Pod:
        ipam: Json = {"type": "host-local", "subnet": subnets[node.name]}
        ipam |= {"dataDir": str(node.folder / "host-local"), "routes": [{"dst": _FLANNEL["Network"]}]}
        bridge: Json = {"name": "cbr0", "type": "bridge", "bridge": "cni0", "mtu": MTU, "ipam": ipam}
        bridge |= {"isGateway": True, "isDefaultGateway": True, "hairpinMode": True}
        portmap: Json = {"name": "cbr0", "type": "portmap", "capabilities": {"portMappings": True}}
        return _attach(node, name, [(str(plugins / "bridge"), bridge), (str(plugins / "portmap"), portmap)])

    return _mesh(nodes, attach, names)


def _subnet(environment: str) -> str:
    """The subnet in flanneld's file, which tells its first address."""
    variables = dict(line.split("=", 1) for line in environment.split())
    return str(IPv4Interface(variables["FLANNEL_SUBNET"]).network)


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


def _mesh(nodes: tuple[Node, Node], attach: Attach, names: list[str]) -> Mesh:
    client, beside, other = names
    mesh = Mesh(nodes, attach(nodes[0], client), attach(nodes[0], beside), attach(nodes[1], other))
    # As kube-proxy does before routing; what else it writes is for Services of the node itself.
    rule = f"type nat hook prerouting priority dstnat; ip daddr {SERVICE} dnat to {mesh.other.address};"
    nodes[0].run("nft", f"table ip service {{ chain services {{ {rule} }}; }}")
    return mesh


def _attach(node: Node, name: str, chain: list[tuple[str, Json]]) -> Pod:
    """Call plugins one after the other, each with the result of the one before."""
    netns, result = f"/run/netns/{name}", ""
    with Engine(node) as engine:
        for plugin, config in chain:
            given = {"cniVersion": "1.0.0", **config} | ({"prevResult": json.loads(result)} if result else {})
            (done,) = engine.succeed([Call(plugin, "ADD", name, netns, given)])
            result = done.text
    return Pod(netns, done.address)


def _until_routed(node: Node, subnet: str) -> None:
    def routed() -> bool:
        return any(route.prefix == subnet for route in node.kernel.routes())

    until(routed, f"{node.name} has a route to {subnet}")
