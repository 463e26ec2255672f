"""A pod's IPv6 address: the number within the node's IPv6 subnet is that of its IPv4 address in the other.

10.42.1.5 of 10.42.1.0/24 is paired with fd42:42:0:1::5 of fd42:42:0:1::/64. So there is nothing to search in
2^64 addresses and nothing to remember: that an address is given once, rests after its release and is known
again after the state was lost all follows from IPv4, and the interface's name tells both.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.ipam import static_address


def gateway6(subnet: IPv6Network) -> IPv6Address:
    """Return the bridge's own address: the first of the subnet behind the router anycast address."""
    return subnet.network_address + 1


def fits(subnet: IPv4Network, subnet6: IPv6Network) -> bool:
    """Whether the IPv6 subnet has an address for every one of the IPv4 subnet."""
    return subnet6.num_addresses >= subnet.num_addresses


def twin(address: IPv4Address, subnet: IPv4Network, subnet6: IPv6Network) -> IPv6Address:
    """Return the IPv6 address that is paired with a pod's IPv4 address."""
    return subnet6.network_address + (int(address) - int(subnet.network_address))


def static_addresses(subnet: IPv4Network, subnet6: IPv6Network | None, wishes: Sequence[str]) -> IPv4Address:
    """Return the IPv4 address that a container wishes for by addresses of one or both families.

    Raises RequestError where one is no address of the node's subnets or they do not go together,
    AddressTakenError where nobody may have it.
    """
    found = {_as_v4(subnet, subnet6, text) for text in wishes}
    if len(found) != 1:
        raise RequestError(
            f"Static addresses {', '.join(text[:64] for text in wishes)} do not go together: a pod has the "
            "same number in the node's IPv4 and IPv6 subnets"
        )
    return found.pop()


def _as_v4(subnet: IPv4Network, subnet6: IPv6Network | None, text: str) -> IPv4Address:
    try:
        address = ipaddress.ip_address(text.partition("/")[0])
    except ValueError:
        return static_address(subnet, text)
    if isinstance(address, IPv4Address) or subnet6 is None:
        return static_address(subnet, text)
    number = int(address) - int(subnet6.network_address)
    if address not in subnet6 or number >= subnet.num_addresses:
        raise RequestError(
            f"Static address {address} is not in this node's subnet {subnet6}, or not among its first "
            f"{subnet.num_addresses} addresses, which pods have"
        )
    return static_address(subnet, str(subnet.network_address + number))
