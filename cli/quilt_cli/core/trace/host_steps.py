"""What a node does with packets on their way through it: source checks, forwarding, firewalls."""

from __future__ import annotations

from dataclasses import dataclass

from quilt_cli.core.trace import iptables, nft
from quilt_cli.core.trace.kernel import Address, address
from quilt_cli.core.trace.packet import Fate, Outcome, Packet
from quilt_cli.core.trace.site import Site, Want
from quilt_cli.core.trace.step import Step, step

_STRICT = 1
_MODES = {0: "0 (off)", 1: "1 (strict)", 2: "2 (loose)"}
# What policies decide and what a Service's address becomes are steps of their own, from what the API says;
# the sets on which these tables rest are too large to be read.
_ELSEWHERE = frozenset({("inet", "quilt-policy"), ("ip", "kube-proxy"), ("ip6", "kube-proxy")})


@dataclass(frozen=True, slots=True)
class Asked:
    """The connection: `protocol` tcp, udp or icmp, `port` 0 without one."""

    source: Address
    target: Address
    protocol: str
    port: int


def source_check(site: Site, want: Want) -> Step:
    """Whether what comes by the overlay is dropped for its source: the larger of two settings counts."""
    name = f"ipv4/conf/{want.device}/rp_filter"
    what, see = f"rp_filter of {want.device}", site.by_hand(f"sysctl net/{name}")
    expected = "2 (loose), or 0 (off)"
    own, all_ = (site.held.sysctl(one) for one in (name, "ipv4/conf/all/rp_filter"))
    if missing := site.lacks("sysctls") or ("" if own else f"{name} is not there"):
        return step("rp_filter", site.name, what, expected, missing, see, ok=None)
    mode = max(int(own or 0), int(all_ or 0))
    found = _MODES.get(mode, str(mode))
    if mode == _STRICT:
        found += ": drops what would be answered by another device"
    return step("rp_filter", site.name, what, expected, found, see, ok=mode != _STRICT)


def forwarding(site: Site, devices: tuple[str, ...], version: int) -> Step:
    """Whether the node forwards at all."""
    names = [f"ipv4/conf/{device}/forwarding" for device in devices] if version == 4 else []
    names.append("ipv4/ip_forward" if version == 4 else "ipv6/conf/all/forwarding")
    what, see = "forwarding", site.by_hand("sysctl " + " ".join(f"net/{name}" for name in names))
    if missing := site.lacks("sysctls"):
        return step("forwarding", site.name, what, "1", missing, see, ok=None)
    held = {name: site.held.sysctl(name) for name in names}
    off = [name for name, value in held.items() if value != "1"]
    found = "1" if not off else ", ".join(f"{name} is {held[name] or 'not there'}" for name in off)
    return step("forwarding", site.name, what, "1, for each device", found, see, ok=not off)


def forward(site: Site, asked: Asked, iif: str, oif: str, *, answer: bool = False) -> Step:
    """What firewalls do with the packet where it is forwarded, or with its answer."""
    what = f"FORWARD {iif} → {oif}{' of the answer' if answer else ''}"
    state = "established" if answer else "new"
    packet = Packet(iif, oif, asked.source, asked.target, asked.protocol, asked.port, state)
    hooks = {"prerouting": "PREROUTING", "forward": "FORWARD", "postrouting": "POSTROUTING"}
    return _firewall("forward", site, what, packet, hooks)


def received(site: Site, peer: Site, want: Want) -> Step:
    """What firewalls do with the overlay's packets where they come in."""
    port = want.spec.vxlan.port
    what = f"UDP {port} from {peer.host_ip}"
    source, target = address(peer.host_ip), address(site.host_ip)
    packet = Packet(site.underlay, "", source, target, "udp", port, "untracked", want.spec.vxlan.vni)
    return _firewall("input", site, what, packet, {"prerouting": "PREROUTING", "input": "INPUT"})


def _firewall(code: str, site: Site, what: str, packet: Packet, hooks: dict[str, str]) -> Step:
    see = site.by_agent("nft list ruleset")
    expected = "no firewall drops it"
    if missing := site.lacks("nft"):
        return step(code, site.name, what, expected, missing, see, ok=None)
    outcomes = _outcomes(site, packet, hooks)
    dropped = [one for one in outcomes if one.fate is Fate.DROPPED]
    unclear = [one for one in outcomes if one.fate is Fate.UNCLEAR]
    if dropped:
        return step(code, site.name, what, expected, f"dropped by {dropped[0].rule}", see, ok=False)
    if unclear:
        found = f"may be dropped by {unclear[0].rule}, whose conditions are not read here"
        return step(code, site.name, what, expected, found, see, ok=None)
    return step(code, site.name, what, expected, "passes", see, ok=True)


def _outcomes(site: Site, packet: Packet, hooks: dict[str, str]) -> list[Outcome]:
    """Of both: iptables-nft's tables are read from its own listing, which has all of them."""
    family = "ip6" if packet.source.version == 6 else "ip"
    listing = str((site.held.document.get("iptables") or {}).get(family) or "")
    own = {(family, table) for table in iptables.names(listing)}
    found = nft.judge(site.held, packet, hooks.keys(), own | _ELSEWHERE)
    return found + iptables.judge(listing, packet, hooks.values())
