"""A mesh of the same shape, made by hand: what the kernel alone does with the same devices and routes.

Bridge, veths, VXLAN device, neighbour, FDB entry, nexthop and route have the settings that runtime and
agent give them, by plain `ip` and `bridge`; there is no firewall and no guard, so that their cost is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.mesh import MTU, Mesh, Pod, Shape, nodes_of, populated
from bench.node import Node
from bench.peers import DEVICE
from bench.switch import Switch, host
from quilt_crds.names import BRIDGE_DEVICE


@dataclass(frozen=True)
class Side:
    """A node's part of the mesh."""

    number: int

    @property
    def subnet(self) -> str:
        return f"10.46.{self.number}"

    @property
    def subnet6(self) -> str:
        return f"fd00:46:0:{self.number}:"

    @property
    def mac(self) -> str:
        """Of its VXLAN device."""
        return f"02:46:00:00:00:{self.number:02x}"


def handmade(switch: Switch, shape: Shape, names: list[str]) -> Mesh:
    """Make the mesh."""
    nodes = nodes_of(switch, shape)
    sides = [Side(number) for number in shape.numbers]
    for node, own, peer in zip(nodes, sides, sides[::-1], strict=True):
        _bridge(node, own, shape)
        _overlay(node, own, peer, shape)
        if shape.direct:
            _ip(node, f"route replace {peer.subnet}.0/24 via {host(peer.number)} dev eth0")
    of = {node.name: side for node, side in zip(nodes, sides, strict=True)}
    taken = iter(range(2, 100))
    return populated(
        shape, nodes, lambda node, name: _pod(node, of[node.name], name, next(taken), shape), names
    )


def _bridge(node: Node, own: Side, shape: Shape) -> None:
    _ip(node, f"link add {BRIDGE_DEVICE} address 02:71:0a:2e:{own.number:02x}:01 type bridge")
    _ip(node, f"link set {BRIDGE_DEVICE} mtu {MTU} addrgenmode none")
    _ip(node, f"link set {BRIDGE_DEVICE} up")
    _ip(node, f"address add {own.subnet}.1/24 dev {BRIDGE_DEVICE}")
    _sysctl(node, f"ipv4/conf/{BRIDGE_DEVICE}/send_redirects=0")
    _sysctl(node, "ipv4/conf/all/send_redirects=0")
    if shape.dual:
        _sysctl(node, f"ipv6/conf/{BRIDGE_DEVICE}/accept_ra=0")
        _ip(node, f"address add {own.subnet6}:1/64 dev {BRIDGE_DEVICE} nodad")
        _ip(node, f"address add fe80::1/64 dev {BRIDGE_DEVICE} nodad")


def _overlay(node: Node, own: Side, peer: Side, shape: Shape) -> None:
    vxlan = f"type vxlan id 100 dstport 4789 local {host(own.number)} nolearning"
    _ip(node, f"link add {DEVICE} address {own.mac} mtu {MTU} {vxlan}")
    _ip(node, f"link set {DEVICE} addrgenmode none")
    _ip(node, f"link set {DEVICE} up")
    _sysctl(node, f"ipv4/conf/{DEVICE}/rp_filter=2")
    node.run("bridge", *f"fdb add {peer.mac} dev {DEVICE} dst {host(peer.number)} self permanent".split())
    subnets = [(f"{own.subnet}.0/32", f"{peer.subnet}.0", 24)]
    if shape.dual:
        subnets.append((f"{own.subnet6}:/128", f"{peer.subnet6}:", 64))
    for hop, (address, gateway, length) in enumerate(subnets, 1):
        _ip(node, f"address add {address} dev {DEVICE}")
        _ip(node, f"neigh add {gateway} lladdr {peer.mac} dev {DEVICE} nud permanent")
        _ip(node, f"nexthop add id {hop} via {gateway} dev {DEVICE} onlink")
        _ip(node, f"route add {gateway}/{length} nhid {hop}")


def _pod(node: Node, own: Side, name: str, number: int, shape: Shape) -> Pod:
    veth = f"veth{number}"
    macs = [f"{start}:0a:2e:{own.number:02x}:{number:02x}" for start in ("0a:59", "0a:58")]
    peer = f"type veth peer name eth0 address {macs[1]} mtu {MTU} netns {name}"
    _ip(node, f"link add {veth} address {macs[0]} mtu {MTU} {peer}")
    _ip(node, f"link set {veth} addrgenmode none")
    _ip(node, f"link set {veth} master {BRIDGE_DEVICE} up")
    _ip(node, f"link set {veth} type bridge_slave hairpin on")
    _ip(node, f"-n {name} link set eth0 up")
    ways = [(f"{own.subnet}.{number}", f"{own.subnet}.1", "/32", "scope link")]
    if shape.dual:
        ways.append((f"{own.subnet6}:{number}", f"{own.subnet6}:1", "/128 nodad", ""))
    for address, gateway, length, scope in ways:
        prefix, _, flags = length.partition(" ")
        _ip(node, f"-n {name} address add {address}{prefix} dev eth0 {flags}")
        _ip(node, f"-n {name} route add {gateway} dev eth0 {scope}")
        _ip(node, f"-n {name} route add default via {gateway} dev eth0 onlink")
    return Pod(f"/run/netns/{name}", *(address for address, *_ in ways))


def _ip(node: Node, line: str) -> None:
    node.run("ip", *line.split())


def _sysctl(node: Node, setting: str) -> None:
    node.run("sysctl", "-qw", f"net/{setting}")
