"""One claim to a subnet as a value: who is to be reached, by which addresses, and whether that can be."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from sys import intern

from msgspec import Struct
from msgspec.structs import replace

from quilt_crds.names import vtep_mac
from quilt_netlink.shapes import number4

# Thousands of claims come at once, and the ipaddress module needs longer for one than all the rest.
_LENGTHS4 = {str(length): length for length in range(33)}


class Peer(Struct, frozen=True, gc=False):
    """One node subnet as published: `vtep` is the subnet's network address, `mac` its node's derived MAC.

    `host_ip` is the underlay address, empty while the operator has not confirmed one.
    """

    cidr: str
    node: str
    phase: str
    host_ip: str
    vtep: str
    mac: str
    uid: str = ""

    def replaces(self, kept: Peer) -> bool:
        """Whether this replaces another claim: it is of the same node, or of addresses in the other."""
        if (":" in self.cidr) != (":" in kept.cidr):
            return False
        # Of one length two subnets are equal or apart: thousands are compared without parsing them.
        alike = self.cidr.partition("/")[2] == kept.cidr.partition("/")[2]
        return self.node == kept.node or (not alike and ip_network(self.cidr).overlaps(ip_network(kept.cidr)))


def make_peer(network: str, cidr: str, node: str, phase: str, host_ip: str, uid: str = "") -> Peer:
    """Build a Peer from a claim's fields; ValueError names the field that cannot be used."""
    vtep = _network_address(cidr)
    if host_ip and number4(host_ip) < 0:
        ip_address(host_ip)
    if not node:
        raise ValueError(f"the claim to {cidr} names no node")
    # Of thousands of claims most say the same of their phase: that text is kept once.
    return Peer(cidr, node, intern(phase), host_ip, vtep, vtep_mac(network, node), uid)


def _network_address(cidr: str) -> str:
    address, _, length = cidr.partition("/")
    number, size = number4(address), _LENGTHS4.get(length)
    if number >= 0 and size is not None and not number & (0xFFFFFFFF >> size):
        return address
    subnet = ip_network(cidr)
    if str(subnet) != cidr:
        raise ValueError(f"cidr {cidr} is not canonical; expected {subnet}")
    return str(subnet.network_address)


def renewed(peer: Peer, phase: str, host_ip: str) -> Peer:
    """Return a claim as it is now: all but these never changes. ValueError as from make_peer."""
    if host_ip and host_ip != peer.host_ip:
        ip_address(host_ip)
        return replace(peer, phase=intern(phase), host_ip=host_ip)
    return replace(peer, phase=intern(phase), host_ip=host_ip and peer.host_ip)


@dataclass(frozen=True, slots=True)
class Reach:
    """A VXLAN device reaches hosts of its own IP family, `host_v6` (None: not known yet).

    `carries_v6` tells whether its MTU is enough for IPv6 subnets.
    """

    host_v6: bool | None = None
    carries_v6: bool = True

    def host(self, address: str) -> bool:
        """Whether a host of this address is reached."""
        return self.host_v6 in (None, ":" in address)

    def subnet(self, cidr: str) -> bool:
        """Whether packets to this subnet can be carried."""
        return self.carries_v6 or ":" not in cidr


@dataclass(frozen=True, slots=True)
class Own:
    """The claim that the runtime serves, or shall serve first, and one to move to; None without.

    A node has two claims of one family while it moves: the operator grants the new one and leaves the old
    one, for pods have addresses of it. The runtime, which gives out the addresses, decides when: it accepts
    another subnet only when no address of the old one is in use.
    """

    use: Peer | None = None
    move_to: Peer | None = None


def choose_own(claims: Sequence[Peer], served: Collection[str], listed: Sequence[str]) -> Own:
    """Choose among one family's own claims; those that are being released are no choice.

    `served` are the CIDRs that the runtime holds, `listed` those that the operator names, of which the last
    is the one to have. What is served stays in use; a runtime without one accepts the wanted at once.
    """
    held = {claim.cidr: claim for claim in claims}
    wanted = next((held[cidr] for cidr in reversed(listed) if cidr in held), None)
    use = next((claim for claim in claims if claim.cidr in served), None)
    if use is None:
        return Own(wanted or next(iter(claims), None))
    return Own(use, wanted if wanted is not use else None)
