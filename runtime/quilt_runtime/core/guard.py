"""The text of the nftables table `bridge quilt`: a pod speaks for itself alone, and only through its node.

Pods share the bridge quilt0, and an ordinary container may send any frame (NET_RAW). So whatever comes from a
pod's interface must carry the pod's own MAC and addresses, as source and in what ARP and neighbor discovery
say; and go to the bridge or to a group, so that no pod reaches its neighbor around the node's IP layer, its
firewall and its Services. Asked before the bridge learns from a frame and before br_netfilter, whatever
`bridge-nf-call-iptables` is. Nothing but IPv4, IPv6 and ARP passes, untagged.

Every pod's interface is shut but for what the sets name, which ADD and DEL write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from quilt_crds.names import POD_INTERFACE_PREFIX
from quilt_netlink.nftsets import port_key
from quilt_runtime.core.drops import GUARD, declared, drop
from quilt_runtime.core.ipam import gateway
from quilt_runtime.core.nftables import Entrance, chain, elements

FAMILY = "bridge"
POD_MAC, BRIDGE_MAC = "0a:58", "02:71"
"""How MACs begin that follow from an IPv4 address."""
BRIDGE_LINK_LOCAL = "fe80::1"
# Of type, and of what: nft 1.0.6 cannot name the target of an advertisement, an integer to it.
SETS = {
    "own_mac": "type ifname . ether_addr",
    "own_v4": "type ifname . ether_addr . ipv4_addr",
    "own_v6": "type ifname . ether_addr . ipv6_addr",
    "own_target": "typeof iifname . ether saddr . @th,64,128",
}
_ENTRANCE = Entrance(FAMILY, "prerouting", "prerouting priority -300")
_FROM = "iifname . ether saddr"
_GROUP = "ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00"


@dataclass(frozen=True, slots=True)
class Port:
    """A pod's interface on the bridge and what may come from it; the twin is None without IPv6."""

    interface: str
    mac: str
    address: IPv4Address
    address6: IPv6Address | None = None

    @property
    def link_local(self) -> str:
        """The address that the kernel makes of the MAC (RFC 4291, appendix A)."""
        first, *rest = bytes.fromhex(self.mac.replace(":", ""))
        packed = bytes([first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]])
        return str(IPv6Address(b"\xfe\x80" + bytes(6) + packed))

    def keys(self) -> dict[str, list[bytes]]:
        """Return the elements of each set that let the pod speak."""
        of6 = [port_key(self.interface, self.mac, address) for address in self._own6]
        return {
            "own_mac": [port_key(self.interface, self.mac)],
            "own_v4": [port_key(self.interface, self.mac, str(self.address))],
            "own_v6": of6,
            "own_target": of6,
        }

    def elements(self) -> dict[str, list[str]]:
        """As `keys`, in nft's words."""
        pair = f'"{self.interface}" . {self.mac}'
        return {
            "own_mac": [pair],
            "own_v4": [f"{pair} . {self.address}"],
            "own_v6": [f"{pair} . {address}" for address in self._own6],
            "own_target": [f"{pair} . {int(IPv6Address(address)):#034x}" for address in self._own6],
        }

    @property
    def _own6(self) -> list[str]:
        return [self.link_local, *([str(self.address6)] if self.address6 else [])]


Ports = Mapping[str, Port]
"""Ports by the name of their interface."""


def keys(ports: Ports) -> dict[str, set[bytes]]:
    """Return what each set holds for these ports."""
    held: dict[str, set[bytes]] = {name: set() for name in SETS}
    for port in ports.values():
        for name, members in port.keys().items():
            held[name].update(members)
    return held


def ruleset(subnet: IPv4Network, bridge_mac: str, ports: Ports) -> tuple[str, ...]:
    """Return the transactions that replace the table, in order."""
    return _table(f'"{interfaces(subnet)}"', bridge_mac, ports)


def unattended(bridge_mac: str, ports: Ports) -> tuple[str, ...]:
    """Return the transactions that leave a table for the time in which nobody follows which pods there are.

    These pods are held to their addresses; one that an older release starts after a roll-back, which knows
    nothing of the table, is not shut in.
    """
    names = ", ".join(f'"{name}"' for name in sorted(ports))
    return _table(f"{{ {names} }}", bridge_mac, ports) if ports else gone()


def _table(names: str, bridge_mac: str, ports: Ports) -> tuple[str, ...]:
    body = [*declared(GUARD), *_sets(ports), *_chains(bridge_mac)]
    return _ENTRANCE.replaced(body, [*_ordinary(bridge_mac), f"iifname {names} goto pod"])


def _ordinary(mac: str) -> list[str]:
    """Accept first what nearly all frames are: a pod's own packets, for its node."""
    to_node, of6 = f"ether daddr {mac}", "meta l4proto { tcp, udp }"
    return [
        f"ether type ip {to_node} {_FROM} . ip saddr @own_v4 accept",
        f"ether type ip6 {to_node} {of6} {_FROM} . ip6 saddr @own_v6 accept",
    ]


def gone() -> tuple[str, ...]:
    """Return the transactions after which the table is gone, and no packet with it."""
    return _ENTRANCE.gone()


def probe() -> str:
    """Return a transaction that changes nothing and succeeds where the kernel filters on bridges at all."""
    table = f"table {FAMILY} quilt-probe"
    chain = "chain probe { type filter hook prerouting priority -300; }"
    return f"{table} {{ {chain} }}\ndelete {table}\n"


def interfaces(subnet: IPv4Network) -> str:
    """Return the pattern of the names of the subnet's pods' interfaces: no other program's begin so."""
    digits = f"{int(subnet.network_address):08x}"[: subnet.prefixlen // 4]
    return f"{POD_INTERFACE_PREFIX}{digits}*"


def outside(subnet: IPv4Network | None, subnet6: IPv6Network | None) -> list[str]:
    """Return the rules of the table `inet quilt` by which nobody outside speaks for a local pod.

    They stand behind the one that leads what comes from pods elsewhere.
    """
    sources = [("ip", subnet), ("ip6", subnet6)]
    return [
        f'{family} saddr {network} iifname != "lo" {drop("spoofed_from_outside")}'
        for family, network in sources
        if network
    ]


def learned(mac: str | None, address: IPv4Address, subnet: IPv4Network) -> str:
    """Return the MAC of a running pod: what the kernel says, unless it belongs to another address here."""
    own = pod_mac(address)
    if mac is None or mac == own or int(mac[:2], 16) & 1:
        return own
    follows_from = IPv4Address(bytes.fromhex(mac.replace(":", ""))[2:])
    return own if mac[:5] in (POD_MAC, BRIDGE_MAC) and follows_from in subnet else mac


def pod_mac(address: IPv4Address) -> str:
    """Return the MAC of the pod that has an address, unless it wished for another one."""
    return f"{POD_MAC}:{address.packed.hex(':')}"


def bridge_mac(subnet: IPv4Network) -> str:
    """Return the bridge's MAC: locally administered, from the gateway's address."""
    return f"{BRIDGE_MAC}:{gateway(subnet).packed.hex(':')}"


def _sets(ports: Ports) -> list[str]:
    members: dict[str, list[str]] = {name: [] for name in SETS}
    for _, port in sorted(ports.items()):
        for name, own in port.elements().items():
            members[name] += own
    return [f"  set {name} {{ {kind}; {elements(members[name])} }}" for name, kind in SETS.items()]


def _chains(mac: str) -> list[str]:
    reports = "{ mld-listener-report, mld-listener-done, mld2-listener-report, nd-router-solicit }"
    target = f"{_FROM} . @th,64,128 @own_target"
    destination, address = drop("guard_destination"), drop("guard_address")
    return [
        *chain(
            "pod",
            f"ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 ether daddr != {mac} {destination}",
            "ether type vmap { arp : goto pod_arp, ip : goto pod_v4, ip6 : goto pod_v6 }",
            drop("guard_protocol"),
        ),
        *chain(
            "pod_arp",
            f"{_FROM} . arp saddr ip @own_v4 iifname . arp saddr ether . arp saddr ip @own_v4 accept",
            drop("guard_arp"),
        ),
        *chain(
            "pod_v4",
            f"{_GROUP} ip daddr != {{ 224.0.0.0/4, 255.255.255.255 }} {destination}",
            f"{_FROM} . ip saddr @own_v4 accept",
            address,
        ),
        *chain("pod_advert", f"{target} {_FROM} . ip6 saddr @own_v6 accept", address),
        # Link-local addresses need not follow from the MAC, but no other pod's or the bridge's is spoken for.
        *chain(
            "pod_v6",
            f"{_GROUP} ip6 daddr != ff00::/8 {destination}",
            f"icmpv6 type {{ nd-router-advert, nd-redirect }} {drop('guard_router')}",
            "icmpv6 type nd-neighbor-advert goto pod_advert",
            f"{_FROM} . ip6 saddr @own_v6 accept",
            f"ip6 saddr {{ {BRIDGE_LINK_LOCAL}, fe80::858:0:0:0/80 }} {address}",
            f"{_FROM} != @own_mac {address}",
            f"ip6 saddr {{ ::, fe80::/10 }} icmpv6 type {reports} accept",
            "ip6 saddr fe80::/10 icmpv6 type nd-neighbor-solicit accept",
            f"ip6 saddr :: icmpv6 type nd-neighbor-solicit {target} accept",
            address,
        ),
    ]
