"""The network below the mesh: which address this node has on it, and how large its packets may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_interface

from quilt_crds.names import ROUTE_PROTOCOLS
from quilt_crds.underlay import OnHost
from quilt_netlink import TABLE_MAIN, Address, KernelLike, Link, Route
from quilt_nodeagent.core.underlay import Direct, HostIP, Wishes, choose, follow_choice, on_link

# Documentation addresses (RFC 5737, RFC 3849): routed by the default route and by nothing more specific.
_SOMEWHERE = ("192.0.2.1", "2001:db8::1")
# Assumed while no interface has the host's address (it may come later): what nearly every network carries.
_USUAL_MTU = 1500
# The kernel's LOOPBACK_IFINDEX.
_LOOPBACK = 1


@dataclass(frozen=True, slots=True)
class Underlay:
    """The chosen host address; index (0: no interface), MTU and name of the interface to the peers."""

    host_ip: HostIP
    ifindex: int
    mtu: int
    name: str = ""


def find_underlay(
    kernel: KernelLike, wishes: Wishes, peers: Callable[[], Iterable[str]] = tuple
) -> tuple[Underlay | None, str]:
    """Choose the host address from what is wished and what this kernel has; None while nothing fits.

    `peers()` are the others' host addresses. The text says why the network's choice is not followed.
    """
    addresses = kernel.addresses()
    owners: dict[str, list[int]] = {}
    for item in addresses:
        owners.setdefault(item.address.partition("/")[0], []).append(item.ifindex)
    if wishes.by_network:
        chosen, unmet = follow_choice(wishes, on_host(kernel, addresses))
    else:
        known = wishes.flag or wishes.spec or any(ip in owners for ip in wishes.internal_ips)
        chosen, unmet = choose(wishes, "" if known else default_source(kernel), owners), ""
    if chosen is None:
        return None, unmet
    link = _interface(kernel, owners.get(chosen.address, ()), lambda: _one(peers(), chosen.address))
    found = Underlay(chosen, link.index, link.mtu, link.name) if link else Underlay(chosen, 0, _USUAL_MTU)
    return found, unmet


def on_host(kernel: KernelLike, addresses: Iterable[Address]) -> list[OnHost]:
    """Return addresses with their interfaces' names; those of an interface that is gone are left out."""
    addresses = list(addresses)
    links = {index: kernel.link(index) for index in {item.ifindex for item in addresses}}
    found = ((links[item.ifindex], item.address) for item in addresses)
    return [OnHost(link.name, ip_interface(address)) for link, address in found if link is not None]


def _interface(kernel: KernelLike, holders: Iterable[int], peer: Callable[[], str]) -> Link | None:
    """Return the interface by which peers are reached; None before there is one.

    It is the one that has the host address, unless nothing is reached by that: kube-proxy's IPVS mode keeps
    addresses on a dummy device, and a host that routes by itself has its own on the loopback device.
    """
    links = [link for index in holders if (link := kernel.link(index)) is not None]
    real = [link for link in links if link.index != _LOOPBACK and link.kind != "dummy"]
    if not links or len(real) == 1:
        return real[0] if real else None
    route = kernel.route_get(peer())
    used = kernel.link(route.ifindex) if route is not None and route.ifindex else None
    return next((link for link in real if used and link.index == used.index), real[0] if real else used)


def _one(peers: Iterable[str], own: str) -> str:
    """Return an address that represents all peers; without any, one that the default route leads to."""
    v6 = ":" in own
    return min((peer for peer in peers if (":" in peer) == v6), default=_SOMEWHERE[v6])


def find_direct(kernel: KernelLike, underlay: Underlay) -> Direct | None:
    """Read which addresses are on the link of the underlay's interface; None while there is no interface."""
    if not underlay.ifindex:
        return None
    routes = (route for route in kernel.routes() if is_host_route(route))
    here = underlay.ifindex, "", 0
    found = ((route.prefix, (route.ifindex, route.gateway, route.nhid) == here) for route in routes)
    return Direct(underlay.name, on_link(found))


def is_host_route(route: Route) -> bool:
    """Whether a route of the main table is the host's own: what the mesh routes says nothing of links."""
    return route.table == TABLE_MAIN and route.protocol not in ROUTE_PROTOCOLS


def default_source(kernel: KernelLike) -> str:
    """Return the address that packets by the default route leave with, IPv4 first; empty without one."""
    for somewhere in _SOMEWHERE:
        route = kernel.route_get(somewhere)
        if route is not None and route.prefsrc:
            return route.prefsrc
    return ""
