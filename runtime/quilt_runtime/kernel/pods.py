"""A pod's end of the network: the veth pair, the address and the routes inside the pod's own namespace.

The runtime never enters a namespace (that needs SYS_ADMIN): the peer is placed by the namespace's descriptor
and then configured over a netlink socket that was opened inside it; both were handed over by quilt-cni.
"""

from __future__ import annotations

import errno

from quilt_crds.names import BRIDGE_DEVICE
from quilt_netlink import (
    ADDRGENMODE_NONE,
    SCOPE_LINK,
    SCOPE_UNIVERSE,
    TABLE_MAIN,
    Address,
    Create,
    Delete,
    Kernel,
    KernelLike,
    Link,
    Neighbour,
    NetlinkError,
    Put,
    Route,
    Rule,
    require,
)
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.ipam import Ip, host_route
from quilt_runtime.core.pod import PodSpec, default_route

PROTOCOL_STATIC = 4
BESIDE = 0x71000000
"""Number of the routing table of a pod's further attachment, plus its interface's index."""
BESIDE_PRIORITY = 1000


class Ipv6OffError(RequestError):
    """The engine switched IPv6 off in the pod's namespace, which the runtime cannot enter."""


def connect(host: KernelLike, pod: Kernel, netns: int, bridge: Link, spec: PodSpec) -> frozenset[int]:
    """Make the pair and configure the pod's end; returns the families (4, 6) whose default route it has.

    Raises RequestError or NetlinkError, with the pair removed again.
    """
    _make_pair(host, netns, spec, bridge.index)
    try:
        # One that had the address with a MAC of its own wish may be remembered.
        stale = [Delete(Neighbour(bridge.index, str(address), "")) for address, _ in spec.ways]
        require(host.apply(stale), absent=True)
        return _configure(pod, spec)
    except BaseException:
        remove(host, spec.host_interface)
        raise


def remove(host: KernelLike, host_interface: str) -> bool:
    """Delete a pair by its host end, which deletes the pod's end too; false where there was none."""
    failures = host.apply([Delete(Link(host_interface))])
    require(failures, absent=True)
    return not failures


def problems(host: KernelLike, pod: Kernel, spec: PodSpec) -> list[str]:
    """Return what of a pod's interface is not as it was made, empty when all is."""
    found = []
    bridge, port = host.link(BRIDGE_DEVICE), host.link(spec.host_interface)
    if bridge is None or not bridge.up:
        found.append(f"{BRIDGE_DEVICE} is missing or down")
    if port is None or not port.up or (bridge is not None and port.master != bridge.index):
        found.append(f"{spec.host_interface} is missing, down or not attached to {BRIDGE_DEVICE}")
    link = pod.link(spec.interface)
    if link is None or not link.up:
        return [*found, f"{spec.interface} is missing or down in the pod"]
    addresses = {address.address for address in pod.addresses(link.index)}
    held = pod.routes(ifindex=link.index) + pod.routes(table=BESIDE + link.index)
    routes = {(route.prefix, route.gateway) for route in held}
    for address, gateway in spec.ways:
        if host_route(address) not in addresses:
            found.append(f"{spec.interface} has lost its address {address}")
        if (default_route(gateway), str(gateway)) not in routes:
            found.append(f"the pod has no default route via {gateway}")
    return found


def _make_pair(host: KernelLike, netns: int, spec: PodSpec, bridge: int) -> None:
    pair = Link(
        spec.host_interface,
        "veth",
        mac=spec.host_mac,
        mtu=spec.mtu,
        up=True,
        master=bridge,
        addrgenmode=ADDRGENMODE_NONE,
        hairpin=True,
        peer=Link(spec.interface, mac=spec.mac, mtu=spec.mtu, up=True, netns_fd=netns),
    )
    try:
        host.run(Create(pair))
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        # Left behind by a runtime that was killed half-way; the address is allocated to this pod now, so is
        # the name.
        if not remove(host, spec.host_interface):
            raise RequestError(f"Interface {spec.interface} already exists in the pod") from error
        host.run(Create(pair))


def _configure(pod: Kernel, spec: PodSpec) -> frozenset[int]:
    link = pod.link(spec.interface)
    if link is None:
        raise RequestError(
            f"Interface {spec.interface} vanished from the pod while it was set up", retryable=True
        )
    require(pod.apply([Put(Link(spec.interface, index=link.index, up=True))]))
    taken = {route.prefix for route in pod.routes()}
    defaults = set()
    for address, gateway in spec.ways:
        try:
            pod.run(Create(Address(link.index, host_route(address))))
        except NetlinkError as error:
            if address.version == 6 and error.errno == errno.EACCES:
                raise Ipv6OffError("IPv6 is switched off in the pod's namespace") from error
            raise
        beside = default_route(gateway) in taken
        _route(pod, link.index, address, gateway, beside=beside)
        if not beside:
            defaults.add(gateway.version)
    return frozenset(defaults)


def _route(pod: Kernel, ifindex: int, address: Ip, gateway: Ip, *, beside: bool) -> None:
    """Lead what the pod sends to the gateway; `beside` another interface that has the default route, only
    what is sent from this address.
    """
    prefix, via, table = default_route(gateway), str(gateway), BESIDE + ifindex if beside else TABLE_MAIN
    default = Route(prefix, PROTOCOL_STATIC, ifindex=ifindex, gateway=via, onlink=True, table=table)
    if beside:
        require(pod.apply([Put(default)]))
        pod.ensure(Rule(table, BESIDE_PRIORITY, source=str(address)))
    else:
        scope = SCOPE_LINK if gateway.version == 4 else SCOPE_UNIVERSE
        direct = Route(host_route(gateway), PROTOCOL_STATIC, ifindex=ifindex, scope=scope)
        require(pod.apply([Create(direct), Create(default)]))
