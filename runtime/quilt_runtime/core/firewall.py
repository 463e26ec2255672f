"""The text of the nftables table `inet quilt`: masquerade on the way out, the overlay for the mesh alone.

Packets of the overlay are those to our UDP port with our VNI: neither tracked nor translated, whatever others
ask for (a hostPort, an external address of a Service), never forwarded, taken from peers alone. Another VNI
on the port is somebody else's.

Replaced in steps, so that no packet ever sees half a table.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from quilt_crds.names import BRIDGE_DEVICE, MULTICAST_PORT, PROBES_PORT
from quilt_netlink.nftsets import SetChange
from quilt_runtime.core import guard
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.drops import FIREWALL, declared, drop
from quilt_runtime.core.nftables import Entrance, base_chain, chain, changes, elements

FAMILY = "inet"
# Before connection tracking, and before others' raw rules: a zone of theirs keeps a packet tracked.
_ENTRANCE = Entrance(FAMILY, "prerouting", "prerouting priority raw - 10")
# Of a release that judged packets of the overlay behind routing; its table may be the one to replace.
_FORMER = Entrance(FAMILY, "input", "input priority filter - 10")
# A source port that masquerading picks must not be the overlay's: the reply would be taken for VXLAN.
MASQUERADE_FROM = 16384
# Routed into the mesh and out of it, a packet loses two.
MULTICAST_TTL = 3
# In nft's own text; what else an element may carry, such as a time-out, means that it is not the runtime's.
SOURCES = re.compile(
    r"(?P<head>\tset overlay_sources_v[46] \{\n[^{}]*?)\n\t\telements = \{(?P<members>[^{}]*)\}"
)


@dataclass(frozen=True, slots=True)
class Firewall:
    """What the table depends on; the subnets are the node's own, None where it has none (yet)."""

    config: NodeConfig
    subnet: IPv4Network | None = None
    subnet6: IPv6Network | None = None

    @property
    def overlay(self) -> str:
        """What matches a packet of the overlay; the VNI is 12 bytes into the UDP datagram (RFC 7348)."""
        return f"udp dport {self.config.vxlan_port} @th,96,24 {self.config.vni}"


def ruleset(wanted: Firewall, *, fib: bool = True) -> tuple[str, ...]:
    """Return the transactions that replace the table, in order; `fib`: whether the kernel can match so.

    A packet between pods of two nodes meets the entrance three times, and each hook's chain costs it
    something: so one chain asks all there is to ask before routing, and what few packets are asked has chains
    of its own.
    """
    body = [*declared(FIREWALL), *_sets(wanted), *_overlay(wanted), *_from_pods(wanted)]
    rules = [f'iifname "{BRIDGE_DEVICE}" goto from_pods']
    if wanted.config.spoof_guard:
        rules += guard.outside(wanted.subnet, wanted.subnet6)
    opened, *others = _ENTRANCE.replaced(
        [*body, *_postrouting(wanted, fib=fib)],
        [*rules, f"{wanted.overlay} goto overlay"],
        meanwhile=[f"{wanted.overlay} notrack"],
    )
    return _FORMER.opened() + opened, *others


def source_changes(held: frozenset[str], wanted: frozenset[str]) -> list[SetChange]:
    """Return what leads from one set of overlay sources to another, nothing where they are equal."""
    return changes(_by_set(held - wanted), _by_set(wanted - held))


def _by_set(sources: frozenset[str]) -> dict[str, set[str]]:
    of4, of6 = split(sources)
    return {"overlay_sources_v4": set(of4), "overlay_sources_v6": set(of6)}


def without_sources(listing: str) -> tuple[str, frozenset[str]]:
    """Return a listing of the table without the overlay's sources, and these: one differs with each peer."""
    sources: list[str] = []

    def take(found: re.Match[str]) -> str:
        sources.extend(_canonical(text.strip()) for text in found["members"].split(","))
        return found["head"]

    return SOURCES.sub(take, listing), frozenset(sources)


def split(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return addresses or networks by family (IPv4, IPv6), sorted."""
    ordered = sorted(texts)
    return [text for text in ordered if ":" not in text], [text for text in ordered if ":" in text]


def _canonical(text: str) -> str:
    """Return an address as Python spells it: not every one is as nft does. Anything else stays as it is."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(text)) if ":" in text else text
    return text


def _sets(wanted: Firewall) -> list[str]:
    cidrs4, cidrs6 = split(wanted.config.cluster_cidrs)
    sources4, sources6 = split(wanted.config.overlay_sources)
    return [
        _set("cluster_v4", "ipv4_addr", cidrs4, "flags interval; auto-merge;"),
        _set("cluster_v6", "ipv6_addr", cidrs6, "flags interval; auto-merge;"),
        _set("overlay_sources_v4", "ipv4_addr", sources4),
        _set("overlay_sources_v6", "ipv6_addr", sources6),
    ]


def _set(name: str, kind: str, members: Sequence[str], flags: str = "") -> str:
    return f"  set {name} {{ type {kind}; {flags} {elements(members)} }}"


def _overlay(wanted: Firewall) -> list[str]:
    # A redirect would lead pods around the node and so around Services; for IPv6 there is no switch.
    redirect = f'icmpv6 type nd-redirect oifname "{BRIDGE_DEVICE}" {drop("redirect_to_pod")}'
    return [
        # Peers alone; where no peer is known, nobody.
        *chain(
            "overlay",
            "ip saddr @overlay_sources_v4 notrack accept",
            "ip6 saddr @overlay_sources_v6 notrack accept",
            drop("overlay_unknown_peer"),
        ),
        *base_chain(
            "output",
            "output priority raw - 10",
            f"{wanted.overlay} notrack accept",
            *([redirect] if wanted.subnet6 else []),
        ),
        # Whoever it comes from: where it arrives, this node's address would vouch for it.
        *base_chain(
            "forward", "forward priority filter - 10", f"{wanted.overlay} {drop('overlay_forwarded')}"
        ),
    ]


def _from_pods(wanted: Firewall) -> list[str]:
    """What no pod has to say to the mesh, whatever address it claims to have; dropped before it is tracked.

    That is: packets of the overlay, where a pod claims to be a peer; answers between agents, which tell who
    has members of which group; and probes, for the first address of a node's subnet, where agents await each
    other's: so many could come that a node misses its peers' and calls their paths broken.
    """
    config, ports = wanted.config, [wanted.config.vxlan_port]
    rules = [f"{wanted.overlay} {drop('overlay_from_pod')}"]
    if config.multicast:
        ports.append(MULTICAST_PORT)
        rules.append(f"udp dport {MULTICAST_PORT} {drop('multicast_from_pod')}")
    if wanted.subnet:
        ports.append(PROBES_PORT)
        first = f"ip daddr @cluster_v4 ip daddr & {wanted.subnet.hostmask} == 0.0.0.0"
        rules.append(f"udp dport {PROBES_PORT} {first} {drop('probe_from_pod')}")
    asked = f"udp dport {{ {', '.join(map(str, sorted(set(ports))))} }} jump mesh_ports"
    return [
        *chain("mesh_ports", *rules),
        *chain("from_pods", asked, *(_multicast() if config.multicast else [])),
    ]


def _multicast() -> list[str]:
    """Make the mesh one link to multicast, as a sender's default TTL of 1 expects.

    Packets of link-local groups stay as they are: they never leave their node.
    """
    groups = "ip daddr 224.0.0.0/4 ip daddr != 224.0.0.0/24"
    return [f"{groups} ip ttl < {MULTICAST_TTL} ip ttl set {MULTICAST_TTL}"]


def _postrouting(wanted: Firewall, *, fib: bool) -> list[str]:
    """Pods keep their address inside the cluster; beyond it nobody knows a way back to them.

    What the host itself sends into the overlay under an address of the underlay (to a Service, by a
    kube-proxy that masquerades nothing inside the cluster) would be answered past the overlay, which strict
    source checks refuse: it gets the device's address. Without `fib` so does what it forwards for others.
    """
    port, device = wanted.config.vxlan_port, wanted.config.vxlan_interface
    first, last = (MASQUERADE_FROM, 65535) if port < MASQUERADE_FROM else (1024, port - 1)
    host = " fib saddr type local" if fib else ""
    rules = []
    for family, subnet, cluster in (("ip", wanted.subnet, "v4"), ("ip6", wanted.subnet6, "v6")):
        if subnet and wanted.config.masquerade:
            rules.append(f"{family} saddr {subnet} {family} daddr != @cluster_{cluster} goto leaving")
        if subnet:
            rules.append(f'oifname "{device}" {family} saddr != @cluster_{cluster}{host} goto leaving')
    leaving = chain(
        "leaving",
        "ip daddr { 224.0.0.0/4, 255.255.255.255 } return",
        "ip6 daddr ff00::/8 return",
        f"meta l4proto {{ tcp, udp }} masquerade to :{first}-{last} fully-random",
        "masquerade fully-random",
    )
    return leaving + base_chain("postrouting", "postrouting priority srcnat", *rules, kind="nat")
