"""Flannel's mesh of two nodes: flanneld, which finds its peer in etcd, and the plugins of its manifest.

Pods are attached by `bridge` with `host-local`, and `portmap`. flanneld keeps the rules of its DaemonSet:
masquerading and forwarding, by iptables.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Interface

from bench import flannel
from bench.mesh import MTU, Json, Mesh, Pod, attached, populated
from bench.node import Node, until
from bench.switch import Switch
from quilt_devcluster.binaries import Progress, cni_plugin_dir

_KEY = "/coreos.com/network/config"
_NETWORK: Json = {"Network": "10.44.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}


def flanneled(switch: Switch, numbers: tuple[int, int], names: list[str], say: Progress) -> Mesh:
    """Flannel's mesh, of the nodes of these numbers, with its manifest's rules."""
    built = flannel.program(say)
    etcd = switch.start_etcd({_KEY: json.dumps(_NETWORK)})
    nodes = switch.node(numbers[0]), switch.node(numbers[1])
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
        ipam |= {"dataDir": str(node.folder / "host-local"), "routes": [{"dst": _NETWORK["Network"]}]}
        bridge: Json = {"name": "cbr0", "type": "bridge", "bridge": "cni0", "mtu": MTU, "ipam": ipam}
        bridge |= {"isGateway": True, "isDefaultGateway": True, "hairpinMode": True}
        portmap: Json = {"name": "cbr0", "type": "portmap", "capabilities": {"portMappings": True}}
        return attached(node, name, [(str(plugins / "bridge"), bridge), (str(plugins / "portmap"), portmap)])

    return populated(nodes, attach, names)


def _subnet(environment: str) -> str:
    """The subnet in flanneld's file, which tells its first address."""
    variables = dict(line.split("=", 1) for line in environment.split())
    return str(IPv4Interface(variables["FLANNEL_SUBNET"]).network)


def _until_routed(node: Node, subnet: str) -> None:
    def routed() -> bool:
        return any(route.prefix == subnet for route in node.kernel.routes())

    until(routed, f"{node.name} has a route to {subnet}")
