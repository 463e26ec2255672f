"""Which address a container gets: the lowest free one behind the last given, so that a released one rests.

Addresses are plain integers here, as the set of taken ones is looked up for each.

A pod's IPv6 address is its twin: the number within the node's IPv6 subnet is that of its IPv4 address in the
other. 10.42.1.5 of 10.42.1.0/24 is paired with fd42:42:0:1::5 of fd42:42:0:1::/64. So there is nothing to
search in 2^64 addresses and nothing to remember: that an address is given once, rests after its release and
is known again after the state was lost all follows from IPv4, and the interface's name tells both.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from quilt_crds.names import POD_INTERFACE_PREFIX
from quilt_policy.program import PodName
from quilt_runtime.core.errors import AddressTakenError, ExhaustedError, RequestError

Ip = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """Who holds an address: a container's interface."""

    container_id: str
    interface: str


@dataclass(frozen=True, slots=True)
class Allocation:
    """One address of one owner; `network` is the CNI network's name, empty for one that no CNI asked for.

    `pod` is None where nobody named it. Its uid is empty where a release recorded it that knew no uids.
    """

    owner: Owner
    address: IPv4Address
    network: str = ""
    pod: PodName | None = None

    @property
    def host_interface(self) -> str:
        """The host's end of the veth pair, named by the address: the kernel alone can tell who has what."""
        return veth_name(self.address)


def veth_name(address: IPv4Address) -> str:
    """Return the host's interface name for a pod address, e.g. qv0a2a0105."""
    return f"{POD_INTERFACE_PREFIX}{int(address):08x}"


def veth_address(name: str) -> IPv4Address | None:
    """Return the pod address in an interface name, or None where the name is not a pod's."""
    digits = name.removeprefix(POD_INTERFACE_PREFIX)
    if len(digits) != 8 or len(digits) == len(name) or not all(c in "0123456789abcdef" for c in digits):
        return None
    return IPv4Address(int(digits, 16))


def gateway(subnet: Network) -> Ip:
    """Return the bridge's own address: the first host of the subnet, in IPv6 behind the routers' anycast."""
    return subnet.network_address + 1


def gateway_address(subnet: Network) -> str:
    """Return the gateway with the subnet's prefix length, e.g. 10.42.1.1/24."""
    return f"{gateway(subnet)}/{subnet.prefixlen}"


def host_route(address: Ip) -> str:
    """Return the prefix that is one address, e.g. 10.42.1.5/32."""
    return f"{address}/{address.max_prefixlen}"


def twin(address: IPv4Address, subnet: IPv4Network, subnet6: IPv6Network) -> IPv6Address:
    """Return the IPv6 address that is paired with a pod's IPv4 address."""
    return subnet6.network_address + (int(address) - int(subnet.network_address))


def capacity(subnet: IPv4Network) -> int:
    """Return how many containers fit: all but network, gateway and broadcast address."""
    return max(subnet.num_addresses - 3, 0)


def next_free(subnet: IPv4Network, taken: Container[int], cursor: int, count: int) -> IPv4Address:
    """Return the first free address behind `cursor`, beginning again at the subnet's end.

    `count` is how many are taken; raises ExhaustedError when all are.
    """
    first, last = int(gateway(subnet)) + 1, int(subnet.broadcast_address) - 1
    start = cursor + 1 if first <= cursor < last else first
    for span in (range(start, last + 1), range(first, start)):
        for candidate in span:
            if candidate not in taken:
                return IPv4Address(candidate)
    used = f"{count} of {capacity(subnet)} are in use"
    raise ExhaustedError(f"No free address in {subnet}: {used}; remove pods from this node")


def static_addresses(subnet: IPv4Network, subnet6: IPv6Network | None, wishes: Sequence[str]) -> IPv4Address:
    """Return the IPv4 address that a container wishes for by addresses of one or both families.

    With or without a prefix length. Raises RequestError where one is no address of the node's subnets or they
    do not go together, AddressTakenError where nobody may have it.
    """
    found = {_static_address(subnet, subnet6, text) for text in wishes}
    if len(found) != 1:
        raise RequestError(
            f"Static addresses {', '.join(text[:64] for text in wishes)} do not go together: a pod has the "
            "same number in the node's IPv4 and IPv6 subnets"
        )
    return found.pop()


def _static_address(subnet: IPv4Network, subnet6: IPv6Network | None, text: str) -> IPv4Address:
    try:
        address = ipaddress.ip_address(text.partition("/")[0])
    except ValueError as error:
        raise RequestError(f"Invalid static address {text[:64]!r}") from error
    if isinstance(address, IPv6Address) and subnet6 is not None:
        number = int(address) - int(subnet6.network_address)
        if address not in subnet6 or number >= subnet.num_addresses:
            raise RequestError(
                f"Static address {address} is not in this node's subnet {subnet6}, or not among its first "
                f"{subnet.num_addresses} addresses, which pods have"
            )
        address = subnet.network_address + number
    if not isinstance(address, IPv4Address) or address not in subnet:
        raise RequestError(f"Static address {address} is not in this node's subnet {subnet}")
    if address in {subnet.network_address, gateway(subnet), subnet.broadcast_address}:
        raise AddressTakenError(f"Static address {address} is reserved in {subnet}")
    return address
