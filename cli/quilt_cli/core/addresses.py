"""Which pod has which address, from QuiltEndpoints, and what an address without a pod is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import msgspec

from quilt_crds.wire import QuiltNode
from quilt_crds.wire_policy import Endpoint, QuiltEndpoints

Address = IPv4Address | IPv6Address


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an address is: the pod that has it, or `what` else, and on which node."""

    address: str
    what: str
    node: str = ""
    namespace: str = ""
    pod: str = ""
    uid: str = ""

    @property
    def taken(self) -> bool:
        """Whether a pod or a node has it."""
        return self.what in {"pod", "node"}


def locate(address: Address, endpoints: Iterable[QuiltEndpoints], nodes: Iterable[QuiltNode]) -> Place:
    """Return what an address is; a pod's IPv6 address is found by its IPv4 address, of which it is made."""
    nodes = tuple(nodes)
    wanted = {str(address), *(str(twin) for twin in _twins(address, nodes))}
    for name, one in published(endpoints, nodes):
        if one.address in wanted:
            return Place(str(address), "pod", name, one.namespace, one.name, one.uid)
    for node in nodes:
        if node.status.host_ip == str(address):
            return Place(str(address), "node", node.name)
        for cidr in node.status.subnets:
            if address in ip_network(cidr):
                # The first two addresses are the VTEP's and the bridge's.
                own = int(address) - int(ip_network(cidr).network_address) < 2
                return Place(str(address), "node" if own else "free", node.name)
    return Place(str(address), "outside")


def published(
    endpoints: Iterable[QuiltEndpoints], nodes: Iterable[QuiltNode]
) -> Iterator[tuple[str, Endpoint]]:
    """Yield pods and their addresses, each with its node, which is believed about its own subnets alone.

    It may be written with a stolen token of its agent; the operator decides alike.
    """
    subnets = {node.name: [ip_network(cidr) for cidr in node.status.subnets] for node in nodes}
    for item in endpoints:
        own = subnets.get(item.spec.node, ())
        for one in item.spec.endpoints:
            if any(ip_address(one.address) in network for network in own):
                yield item.spec.node, one


def _twins(address: Address, nodes: Iterable[QuiltNode]) -> Iterable[Address]:
    """Yield the IPv4 addresses of the pod whose IPv6 address is this: as far from its subnet's beginning."""
    for node in nodes:
        networks = [ip_network(cidr) for cidr in node.status.subnets]
        within = [network for network in networks if network.version == 6 and address in network]
        for network in networks if within else ():
            offset = int(address) - int(within[0].network_address)
            if network.version == 4 and offset < network.num_addresses:
                yield ip_address(int(network.network_address) + offset)
