"""The text of the nftables table `inet quilt`: masquerade on the way out, no forged overlay packets in.

Written as one transaction (`nft -f -`), so that no packet ever sees half a table.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from quilt_netlink.nftsets import SetChange
from quilt_runtime.core import guard, multicast

TABLE = "quilt"
BRIDGE = "quilt0"
# A source port that masquerading picks must not be the overlay's: the reply would be taken for VXLAN.
MASQUERADE_FROM = 16384
# In nft's own text; what else an element may carry, such as a time-out, makes it no address of ours.
SOURCES = re.compile(
    r"(?P<head>\tset overlay_sources_v[46] \{\n[^{}]*?)\n\t\telements = \{(?P<members>[^{}]*)\}"
)


@dataclass(frozen=True, slots=True)
class Firewall:
    """What the table depends on; `subnet` and `subnet6` are the node's own, empty where it has none (yet)."""

    subnet: str
    cluster_cidrs: tuple[str, ...]
    vxlan_port: int
    overlay_sources: frozenset[str]
    subnet6: str = ""
    multicast: bool = False
    spoof_guard: bool = False


def ruleset(wanted: Firewall) -> str:
    """Return the transaction that replaces the table as a whole."""
    chains = [*_input(wanted), *_forward(wanted), *_output(wanted), *_postrouting(wanted)]
    if wanted.multicast:
        chains += multicast.chain(BRIDGE)
    if wanted.spoof_guard:
        chains += guard.outside(BRIDGE, wanted.subnet, wanted.subnet6)
    body = "\n".join([*_sets(wanted), *chains])
    return f"table inet {TABLE} {{}}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{body}\n}}\n"


def source_changes(held: frozenset[str], wanted: frozenset[str]) -> list[SetChange]:
    """Return what leads from one set of overlay sources to another, nothing where they are equal."""
    return [
        SetChange(f"overlay_sources_v{family}", members, new)
        for new, addresses in ((True, wanted - held), (False, held - wanted))
        for family, members in zip((4, 6), split(addresses), strict=True)
        if members
    ]


def without_sources(listing: str) -> tuple[str, frozenset[str]]:
    """Return a listing of the table without the overlay's sources, and these: one differs with each peer."""
    sources: list[str] = []

    def take(found: re.Match[str]) -> str:
        sources.extend(_canonical(text.strip()) for text in found["members"].split(","))
        return found["head"]

    return SOURCES.sub(take, listing), frozenset(sources)


def removal() -> str:
    """Return the transaction after which the table is gone, whether it was there or not."""
    return f"table inet {TABLE} {{}}\ndelete table inet {TABLE}\n"


def split(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return addresses or networks by family (IPv4, IPv6), sorted."""
    ordered = sorted(texts)
    return [text for text in ordered if ":" not in text], [text for text in ordered if ":" in text]


def _canonical(text: str) -> str:
    """Return an address as Python spells it: not every one is as nft does. Anything else stays as it is."""
    if ":" not in text:
        return text
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def _sets(wanted: Firewall) -> list[str]:
    cidrs4, cidrs6 = split(wanted.cluster_cidrs)
    sources4, sources6 = split(wanted.overlay_sources)
    return [
        *_set("cluster_v4", "ipv4_addr", cidrs4, interval=True),
        *_set("cluster_v6", "ipv6_addr", cidrs6, interval=True),
        *_set("overlay_sources_v4", "ipv4_addr", sources4),
        *_set("overlay_sources_v6", "ipv6_addr", sources6),
    ]


def _set(name: str, kind: str, members: Sequence[str], *, interval: bool = False) -> list[str]:
    flags = "flags interval; auto-merge;" if interval else ""
    elements = f"elements = {{ {', '.join(members)} }}" if members else ""
    return [f"  set {name} {{ type {kind}; {flags} {elements} }}"]


def _input(wanted: Firewall) -> list[str]:
    """Overlay packets are taken from peers alone. Without peers known, none is shut out: the first may be
    one.
    """
    rules = [f'    iifname "{BRIDGE}" udp dport {wanted.vxlan_port} drop']
    if wanted.overlay_sources:
        rules.append(f"    udp dport {wanted.vxlan_port} ip saddr != @overlay_sources_v4 drop")
        rules.append(f"    udp dport {wanted.vxlan_port} ip6 saddr != @overlay_sources_v6 drop")
    return [
        "  chain input {",
        "    type filter hook input priority filter - 10; policy accept;",
        *rules,
        "  }",
    ]


def _forward(wanted: Firewall) -> list[str]:
    """A pod must not reach another node's overlay port either: its node's address would vouch for it."""
    rule = f'    iifname "{BRIDGE}" udp dport {wanted.vxlan_port} drop'
    return [
        "  chain forward {",
        "    type filter hook forward priority filter - 10; policy accept;",
        rule,
        "  }",
    ]


def _output(wanted: Firewall) -> list[str]:
    """A redirect would lead pods around the node and so around Services; for IPv6 there is no switch."""
    if not wanted.subnet6:
        return []
    return [
        "  chain output {",
        "    type filter hook output priority filter - 10; policy accept;",
        f'    oifname "{BRIDGE}" icmpv6 type nd-redirect drop',
        "  }",
    ]


def _postrouting(wanted: Firewall) -> list[str]:
    """Pods keep their address inside the cluster; beyond it nobody knows a way back to them."""
    first, last = (
        (MASQUERADE_FROM, 65535) if wanted.vxlan_port < MASQUERADE_FROM else (1024, wanted.vxlan_port - 1)
    )
    rules = [f"    ip saddr {wanted.subnet} ip daddr != @cluster_v4 goto leaving"] if wanted.subnet else []
    if wanted.subnet6:
        rules.append(f"    ip6 saddr {wanted.subnet6} ip6 daddr != @cluster_v6 goto leaving")
    return [
        "  chain leaving {",
        "    fib daddr type { broadcast, multicast } return",
        f"    meta l4proto {{ tcp, udp }} masquerade to :{first}-{last} fully-random",
        "    masquerade fully-random",
        "  }",
        "  chain postrouting {",
        "    type nat hook postrouting priority srcnat; policy accept;",
        *rules,
        "  }",
    ]
