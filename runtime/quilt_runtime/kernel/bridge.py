"""The bridge quilt0 and its ports: brought to what they should be, touching only what differs.

The bridge has a fixed MAC (pods keep it in their neighbour tables over a re-creation), the gateway address
with the subnet's prefix length (the connected route is the way to local pods), and no IPv6 link-local
address unless the node has an IPv6 subnet: then the node needs one to ask for the neighbours to which it
forwards. Its ports are hairpin ports, so that a pod reaches itself through a Service.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network

from quilt_crds.names import BRIDGE_DEVICE
from quilt_netlink import (
    ADDRGENMODE_NONE,
    Address,
    Create,
    Delete,
    KernelLike,
    Link,
    Op,
    Put,
    require,
)
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.guard import BRIDGE_LINK_LOCAL, bridge_mac
from quilt_runtime.core.ipam import Network, gateway_address, veth_address

LINK_LOCAL = f"{BRIDGE_LINK_LOCAL}/64"


def subnet_of(address: str) -> Network | None:
    """Return the subnet whose gateway an address of the bridge is, None for any other address."""
    subnet = ip_network(address, strict=False)
    return subnet if address == gateway_address(subnet) and address != LINK_LOCAL else None


def ensure_bridge(kernel: KernelLike, subnet: IPv4Network, mtu: int) -> list[str]:
    """Make the bridge right; returns the kinds of what was repaired ("bridge", "bridge_settings",
    "bridge_address"). `mtu` is in bytes.
    """
    repaired = []
    # From the gateway's address: the same after any re-creation.
    mac = bridge_mac(subnet)
    link = kernel.link(BRIDGE_DEVICE)
    if link is None:
        kernel.run(Create(Link(BRIDGE_DEVICE, "bridge", mac=mac, up=True, addrgenmode=ADDRGENMODE_NONE)))
        repaired.append("bridge")
        link = _present(kernel)
        # Only an MTU set on a bridge that exists is kept: one given at creation follows the smallest port.
        kernel.run(Put(Link(BRIDGE_DEVICE, index=link.index, mtu=mtu, up=True)))
    elif link.kind != "bridge":
        raise RequestError(
            f"Interface {BRIDGE_DEVICE} exists and is no bridge but {link.kind or 'a device'}; rename it"
        )
    elif not link.up or link.mac != mac or link.mtu != mtu:
        kernel.run(Put(Link(BRIDGE_DEVICE, index=link.index, mac=mac, mtu=mtu, up=True)))
        repaired.append("bridge_settings")
    return repaired + ensure_addresses(kernel, subnet)


def ensure_addresses(kernel: KernelLike, subnet: Network) -> list[str]:
    """Give the bridge exactly its addresses of the subnet's family; an earlier subnet's is removed (its
    routes would lead nowhere). Returns ["bridge_address"] where one was missing or stale.
    """
    ifindex = _present(kernel).index
    wanted = {gateway_address(subnet), *([LINK_LOCAL] if subnet.version == 6 else [])}
    found = (address.address for address in kernel.addresses(ifindex))
    held = {address for address in found if (":" in address) == (subnet.version == 6)}
    ops: list[Op] = [Create(Address(ifindex, address)) for address in sorted(wanted - held)]
    ops += [Delete(Address(ifindex, address)) for address in sorted(held - wanted)]
    require(kernel.apply(ops), absent=True)
    return ["bridge_address"] if ops else []


def ensure_ports(kernel: KernelLike, names: Iterable[str]) -> int:
    """Make those of these veths that exist up hairpin ports of the bridge; returns how many were not.

    One that has gone meanwhile does not count.
    """
    bridge = _present(kernel)
    ops: list[Op] = [
        Put(Link(link.name, index=link.index, up=True, master=bridge.index, hairpin=True))
        for name in names
        if (link := kernel.link(name)) and not (link.master == bridge.index and link.up and link.hairpin)
    ]
    failures = kernel.apply(ops)
    require(failures, absent=True)
    return len(ops) - len(failures)


def remove_links(kernel: KernelLike) -> int:
    """Delete our veths and the bridge; returns how many went. Raises NetlinkError where one stays."""
    links = [
        link for link in kernel.links() if link.name == BRIDGE_DEVICE or veth_address(link.name) is not None
    ]
    ops: list[Op] = [Delete(Link(link.name, index=link.index)) for link in links]
    failures = kernel.apply(ops)
    require(failures, absent=True)
    return len(ops) - len(failures)


def _present(kernel: KernelLike) -> Link:
    link = kernel.link(BRIDGE_DEVICE)
    if link is None:
        raise RequestError(
            f"Interface {BRIDGE_DEVICE} vanished while it was set up; it is made again", retryable=True
        )
    return link
