"""A mesh of the same shape, made by hand: what the kernel alone does with the same devices and routes.

Bridge, veths, VXLAN device, neighbour, FDB entry, nexthop and route have the settings that runtime and
agent give them, by plain `ip` and `bridge`; there is no firewall and no guard, so that their cost is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.mesh import MTU, Mesh, Pod, populated
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
    def mac(self) -> str:
        """Of its VXLAN device."""
        return f"02:46:00:00:00:{self.number:02x}"


def handmade(switch: Switch, numbers: tuple[int, int], names: list[str]) -> Mesh:
    """The mesh of the nodes of these numbers."""
    nodes = switch.node(numbers[0]), switch.node(numbers[1])
    sides = [Side(number) for number in numbers]
    for node, own, peer in zip(nodes, sides, sides[::-1], strict=True):
        _bridge(node, own)
        _overlay(node, own, peer)
    of = {node.name: side for node, side in zip(nodes, sides, strict=True)}
    taken = iter(range(2, 100))
    return populated(nodes, lambda node, name: _pod(node, of[node.name], name, next(taken)), names)


def _bridge(node: Node, own: Side) -> None:
    gateway = f"{own.subnet}.1"
    _ip(node, f"link add {BRIDGE_DEVICE} address 02:71:0a:2e:{own.number:02x}:01 type bridge")
    _ip(node, f"link set {BRIDGE_DEVICE} mtu {MTU} addrgenmode none up")
    _ip(node, f"address add {gateway}/24 dev {BRIDGE_DEVICE}")
    _sysctl(node, f"{BRIDGE_DEVICE}/send_redirects=0")
    _sysctl(node, "all/send_redirects=0")


def _overlay(node: Node, own: Side, peer: Side) -> None:
    vxlan = f"type vxlan id 100 dstport 4789 local {host(own.number)} nolearning"
    _ip(node, f"link add {DEVICE} address {own.mac} mtu {MTU} {vxlan}")
    _ip(node, f"link set {DEVICE} addrgenmode none up")
    _ip(node, f"address add {own.subnet}.0/32 dev {DEVICE}")
    _sysctl(node, f"{DEVICE}/rp_filter=2")
    _ip(node, f"neigh add {peer.subnet}.0 lladdr {peer.mac} dev {DEVICE} nud permanent")
    node.run("bridge", *f"fdb add {peer.mac} dev {DEVICE} dst {host(peer.number)} self permanent".split())
    _ip(node, f"nexthop add id 1 via {peer.subnet}.0 dev {DEVICE} onlink")
    _ip(node, f"route add {peer.subnet}.0/24 nhid 1")


def _pod(node: Node, own: Side, name: str, number: int) -> Pod:
    address, gateway, veth = f"{own.subnet}.{number}", f"{own.subnet}.1", f"veth{number}"
    macs = [f"{start}:0a:2e:{own.number:02x}:{number:02x}" for start in ("0a:59", "0a:58")]
    peer = f"type veth peer name eth0 address {macs[1]} mtu {MTU} netns {name}"
    _ip(node, f"link add {veth} address {macs[0]} mtu {MTU} {peer}")
    _ip(node, f"link set {veth} addrgenmode none master {BRIDGE_DEVICE} up")
    _ip(node, f"link set {veth} type bridge_slave hairpin on")
    for line in (
        "link set eth0 up",
        f"address add {address}/32 dev eth0",
        f"route add {gateway} dev eth0 scope link",
        f"route add default via {gateway} dev eth0 onlink",
    ):
        _ip(node, f"-n {name} {line}")
    return Pod(f"/run/netns/{name}", address)


def _ip(node: Node, line: str) -> None:
    node.run("ip", *line.split())


def _sysctl(node: Node, setting: str) -> None:
    node.run("sysctl", "-qw", f"net/ipv4/conf/{setting}")
