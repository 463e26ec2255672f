"""Which address a container gets: the lowest free one behind the last given, so that a released one rests.

Addresses are plain integers here, as the set of taken ones is looked up for each.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from quilt_crds.names import POD_INTERFACE_PREFIX
from quilt_runtime.core.errors import AddressTakenError, ExhaustedError, RequestError


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """Who holds an address: a container's interface."""

    container_id: str
    interface: str


@dataclass(frozen=True, slots=True)
class Allocation:
    """One address of one owner; `network` is the CNI network's name, empty for one that no CNI asked for."""

    owner: Owner
    address: IPv4Address
    network: str = ""

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


def gateway(subnet: IPv4Network) -> IPv4Address:
    """Return the bridge's own address: the first host of the subnet."""
    return subnet.network_address + 1


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
    raise ExhaustedError(str(subnet), count, capacity(subnet))


def static_address(subnet: IPv4Network, text: str) -> IPv4Address:
    """Return the address that a container wishes for, with or without a prefix length.

    Raises RequestError where it is no address of the subnet, AddressTakenError where nobody may have it.
    """
    spelled, _, _ = text.partition("/")
    try:
        address = ipaddress.ip_address(spelled)
    except ValueError as error:
        raise RequestError(f"Invalid static address {text[:64]!r}") from error
    if not isinstance(address, IPv4Address) or address not in subnet:
        raise RequestError(f"Static address {address} is not in this node's subnet {subnet}")
    if address in {subnet.network_address, gateway(subnet), subnet.broadcast_address}:
        raise AddressTakenError(f"Static address {address} is reserved in {subnet}")
    return address
