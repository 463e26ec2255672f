"""Flannel's mesh of two nodes: flanneld, which finds its peer in etcd, and the plugins of its manifest.

Pods are attached by `bridge` with `host-local`, and `portmap`. flanneld keeps the rules of its DaemonSet:
masquerading and forwarding, by iptables.
"""

from __future__ import annotations

import json
from ipaddress import ip_interface

from bench import flannel
from bench.mesh import HOST_PORTS, MTU, Json, Mesh, Pod, Shape, attached, nodes_of, populated, portmap
from bench.node import Node, until
from bench.switch import Switch
from quilt_devcluster.binaries import Progress, cni_plugin_dir

_NETWORK, _NETWORK6 = "10.44.0.0/16", "fd00:44::/48"


def flanneled(switch: Switch, shape: Shape, names: list[str], say: Progress) -> Mesh:
    """Make the mesh."""
    built = flannel.program(say)
    prefix = f"/coreos.com/network-of-{shape.numbers[0]}"
    etcd = switch.etcd({f"{prefix}/config": json.dumps(_network(shape))})
    nodes = nodes_of(switch, shape)
    files = [node.folder / "subnet.env" for node in nodes]
    for node, file in zip(nodes, files, strict=True):
        options = {"etcd-endpoints": etcd, "etcd-prefix": prefix, "subnet-file": file, "iface": "eth0"}
        options |= {"ip-masq": "true", "iptables-forward-rules": "true"}
        node.start_agent_program([str(built), *(f"--{name}={value}" for name, value in options.items())])
    until(lambda: all(file.exists() for file in files), "flanneld has a subnet")
    subnets = {node.name: _subnets(file.read_text()) for node, file in zip(nodes, files, strict=True)}
    for node, other in zip(nodes, nodes[::-1], strict=True):
        _until_routed(node, set(subnets[other.name]))

    def attach(node: Node, name: str) -> Pod:
        mapped = HOST_PORTS in shape.places and name == names[2]
        return attached(node, name, [_bridge(node, subnets[node.name]), portmap("cbr0", mapped=mapped)])

    return populated(shape, nodes, attach, names)


def _network(shape: Shape) -> Json:
    backend: Json = {"Type": "vxlan"} | ({"DirectRouting": True} if shape.direct else {})
    network: Json = {"Network": _NETWORK, "SubnetLen": 24, "Backend": backend}
    return network | ({"EnableIPv6": True, "IPv6Network": _NETWORK6} if shape.dual else {})


def _bridge(node: Node, subnets: list[str]) -> tuple[str, Json]:
    ranges = [[{"subnet": subnet}] for subnet in subnets]
    routes = [{"dst": network} for network in (_NETWORK, _NETWORK6)[: len(subnets)]]
    ipam: Json = {"type": "host-local", "ranges": ranges, "routes": routes}
    ipam |= {"dataDir": str(node.folder / "host-local")}
    config: Json = {"name": "cbr0", "type": "bridge", "bridge": "cni0", "mtu": MTU, "ipam": ipam}
    config |= {"isGateway": True, "isDefaultGateway": True, "hairpinMode": True}
    return str(cni_plugin_dir() / "bridge"), config


def _subnets(environment: str) -> list[str]:
    """The subnets in flanneld's file, which names the first address of each."""
    variables = dict(line.split("=", 1) for line in environment.split())
    firsts = (variables.get(name) for name in ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"))
    return [str(ip_interface(first).network) for first in firsts if first]


def _until_routed(node: Node, subnets: set[str]) -> None:
    def routed() -> bool:
        return subnets <= {route.prefix for route in node.kernel.routes()}

    until(routed, f"{node.name} has routes to {', '.join(sorted(subnets))}")
