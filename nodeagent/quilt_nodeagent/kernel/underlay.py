"""The network below the mesh: which address this node has on it, and how large its packets may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quilt_netlink import TABLE_MAIN, KernelLike, Route
from quilt_nodeagent.core.direct import Direct, on_link
from quilt_nodeagent.core.hostip import Candidates, HostIP, choose
from quilt_nodeagent.core.ownership import INJECTED_PROTOCOL, MESH_PROTOCOL

# Documentation addresses (RFC 5737, RFC 3849): routed by the default route and by nothing more specific.
_SOMEWHERE = ("192.0.2.1", "2001:db8::1")
# Assumed while no interface has the host's address (it may come later): what nearly every network carries.
_USUAL_MTU = 1500


@dataclass(frozen=True, slots=True)
class Underlay:
    """The chosen host address, the index (0: none has it), MTU and name of its interface."""

    host_ip: HostIP
    ifindex: int
    mtu: int
    name: str = ""


def find_underlay(kernel: KernelLike, flag: str, spec: str, internal_ips: Sequence[str]) -> Underlay | None:
    """Choose the host address from what is configured and what this kernel has; None while nothing fits."""
    owners = {item.address.partition("/")[0]: item.ifindex for item in kernel.addresses()}
    source = ""
    if not flag and not spec and not any(ip in owners for ip in internal_ips):
        source = default_source(kernel)
    chosen = choose(Candidates(flag, spec, internal_ips, source, owners.keys()))
    if chosen is None:
        return None
    ifindex = owners.get(chosen.address, 0)
    link = kernel.link(ifindex) if ifindex else None
    if link is None:
        return Underlay(chosen, 0, _USUAL_MTU)
    return Underlay(chosen, ifindex, link.mtu, link.name)


def find_direct(kernel: KernelLike, underlay: Underlay) -> Direct | None:
    """Read which addresses are on the link of the underlay's interface; None while there is no interface."""
    if not underlay.ifindex:
        return None
    routes = (route for route in kernel.routes() if is_host_route(route))
    return Direct(underlay.name, *on_link((route.prefix, _is_here(route, underlay)) for route in routes))


def is_host_route(route: Route) -> bool:
    """Whether a route of the main table is the host's own: what the mesh routes says nothing of links."""
    return route.table == TABLE_MAIN and route.protocol not in (MESH_PROTOCOL, INJECTED_PROTOCOL)


def _is_here(route: Route, underlay: Underlay) -> bool:
    return route.ifindex == underlay.ifindex and not route.gateway and not route.nhid


def default_source(kernel: KernelLike) -> str:
    """Return the address that packets by the default route leave with, IPv4 first; empty without one."""
    for somewhere in _SOMEWHERE:
        route = kernel.route_get(somewhere)
        if route is not None and route.prefsrc:
            return route.prefsrc
    return ""
