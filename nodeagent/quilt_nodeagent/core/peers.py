"""Who is in the mesh: the table of claims, and what the kernel should hold because of them.

The table is fed by QuiltSubnets and answers two questions at a cost that depends only on what is asked: which
places did this claim touch, and what should stand in a place. A claim is named by its CIDR, so one subnet can
never belong to two nodes here, whatever order events come in.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from sys import intern

from msgspec import Struct
from msgspec.structs import replace

from quilt_crds.names import DOWN, RELEASING, UP
from quilt_crds.vtep import vtep_mac
from quilt_netlink.messages import number4
from quilt_nodeagent.core.direct import Direct
from quilt_nodeagent.core.reach import Reach
from quilt_nodeagent.core.state import Entries, Hop, Mark

# Thousands of claims come at once, and the ipaddress module takes longer for one than all the rest.
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


def make_peer(network: str, cidr: str, node: str, phase: str, host_ip: str, uid: str = "") -> Peer:
    """Build a Peer from a claim's fields; ValueError names the field that cannot be used."""
    vtep = intern(_network_address(cidr))
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


class PeerTable:
    """All claims of one network, seen from the node `own_node`.

    `complete` is False until the first complete list: before it, nothing may be called stale.
    """

    def __init__(self, own_node: str, device: str, *, keep_down: bool = False) -> None:
        self.own_node = own_node
        self.device = device
        self.complete = False
        self._keep_down = keep_down
        self._direct: Direct | None = None
        self._reach = Reach()
        self._refused: frozenset[str] = frozenset()
        self._apart: dict[str, Peer] = {}
        self._claims: dict[str, Peer] = {}
        self._own: dict[str, Peer] = {}
        # Several claims of a node share its MAC; the smallest CIDR decides, so that order never matters.
        self._by_mac: dict[str, tuple[Peer, ...]] = {}
        self._by_vtep: dict[str, tuple[Peer, ...]] = {}

    def __len__(self) -> int:
        return len(self._claims)

    @property
    def routed(self) -> int:
        """Number of peer subnets that should be routed."""
        return len(self._by_vtep)

    @property
    def own(self) -> list[Peer]:
        """Claims of this node, by CIDR, those being released left out."""
        return sorted((c for c in self._own.values() if c.phase != RELEASING), key=lambda claim: claim.cidr)

    @property
    def own_releasing(self) -> bool:
        """Whether this node's only claims are being taken back."""
        return bool(self._own) and not self.own

    def claim(self, cidr: str) -> Peer | None:
        """Return the claim to a subnet, own ones included."""
        return self._claims.get(cidr) or self._own.get(cidr)

    def claims(self) -> list[Peer]:
        """Return every claim, own ones included."""
        return [*self._claims.values(), *self._own.values()]

    def upsert(self, claim: Peer) -> set[Mark]:
        """Take in a claim as it is now; return the places whose desired value may have changed."""
        previous = self.claim(claim.cidr)
        if previous == claim:
            return set()
        marks = self._forget(previous) if previous else set()
        if claim.node == self.own_node:
            self._own[claim.cidr] = claim
        else:
            self._claims[claim.cidr] = claim
            marks.update(self._enter_where_wanted(claim))
        return marks

    def remove(self, cidr: str, uid: str = "") -> set[Mark]:
        """Forget a claim; a `uid` that is not the held one's belongs to a predecessor and changes nothing."""
        held = self.claim(cidr)
        if held is None or (uid and held.uid and uid != held.uid):
            return set()
        return self._forget(held)

    def replace(self, claims: Iterable[Peer]) -> set[Mark]:
        """Take in a complete list; return the places touched by the difference to what was known."""
        marks: set[Mark] = set()
        listed = {claim.cidr: claim for claim in claims}
        for held in self.claims():
            if held.cidr not in listed:
                marks.update(self._forget(held))
        for claim in listed.values():
            marks.update(self.upsert(claim))
        self.complete = True
        return marks

    def set_keep_down(self, keep: bool) -> set[Mark]:
        """Follow nodeDownPolicy: Keep routes to nodes that are Down, or withdraw them."""
        if keep == self._keep_down:
            return set()
        marks: set[Mark] = set()
        down = [claim for claim in self._claims.values() if claim.phase == DOWN]
        for claim in down:
            marks.update(self._leave(claim))
        self._keep_down = keep
        for claim in down:
            marks.update(self._enter_where_wanted(claim))
        return marks

    def set_device(self, device: str) -> set[Mark]:
        """Follow a renamed VXLAN device: every route changes."""
        if device == self.device:
            return set()
        self.device = device
        return {("route", peer.cidr) for peers in self._by_vtep.values() for peer in peers}

    def set_refused(self, cidrs: Iterable[str]) -> set[Mark]:
        """Follow the mesh's networks: what has no route in them is refused by this node."""
        before, self._refused = self._refused, frozenset(cidrs)
        return {("unreachable", cidr) for cidr in before ^ self._refused}

    def set_reach(self, reach: Reach) -> set[Mark]:
        """Follow what the overlay can carry."""
        marks: set[Mark] = set()
        claims = self._claims.values() if reach != self._reach else ()
        for claim in claims:
            marks.update(self._leave(claim))
        self._reach = reach
        for claim in claims:
            marks.update(self._enter_where_wanted(claim))
        return marks

    @property
    def apart(self) -> list[Peer]:
        """Peers left out for nothing but their host address, which is of the other IP family; by CIDR."""
        return [self._apart[cidr] for cidr in sorted(self._apart)]

    @property
    def is_odd(self) -> bool:
        """Whether it is rather this node whose host address is of the wrong family; IPv6's if in doubt."""
        others, alike = len({peer.node for peer in self._apart.values()}), 1 + len(self._by_mac)
        return others > alike or (others == alike and bool(self._reach.host_v6))

    def set_direct(self, direct: Direct | None) -> set[Mark]:
        """Follow what is known of the link shared with peers (None: encapsulate everything)."""
        if direct == self._direct:
            return set()
        before = self.desired().routes
        self._direct = direct
        after = self.desired().routes
        return {("route", prefix) for prefix, hop in after.items() if before[prefix] != hop}

    def desired(self) -> Entries:
        """What should stand in the kernel."""
        everyone = [peer for peers in self._by_vtep.values() for peer in peers]
        return Entries(
            {peers[0].vtep: peers[0].mac for peers in self._by_vtep.values()},
            {peers[0].mac: peers[0].host_ip for peers in self._by_mac.values()},
            {peer.cidr: self._hop(peer) for peer in everyone},
            self._refused,
        )

    def desired_at(self, mark: Mark) -> str | Hop | bool | None:
        """What should stand in one place, None for nothing."""
        kind, key = mark
        if kind == "route":
            return self._hop(self._claims[key]) if self._routed(key) else None
        if kind == "unreachable":
            return key in self._refused or None
        if kind == "neighbour":
            return self._by_vtep[key][0].mac if key in self._by_vtep else None
        return self._by_mac[key][0].host_ip if key in self._by_mac else None

    def holder(self, address: str) -> Peer | None:
        """Return the claim whose subnet holds an address: the node's own, or one that is routed to."""
        wanted = ip_address(address)
        number, bits, kind = int(wanted), wanted.max_prefixlen, type(wanted)
        for length in range(bits, 0, -1):
            cidr = f"{kind(number >> (bits - length) << (bits - length))}/{length}"
            held = self._own.get(cidr)
            if held is not None and held.phase != RELEASING:
                return held
            if self._routed(cidr):
                return self._claims[cidr]
        return None

    def prefixes_of(self, vtep: str) -> list[str]:
        """Prefixes of the peer whose VTEP address this is; empty when no wanted peer has it."""
        return [peer.cidr for peer in self._by_vtep.get(vtep, ())]

    @property
    def direct(self) -> int:
        """Number of peers' hosts that are reached by the shared link."""
        link = self._direct
        return sum(1 for host in self.host_ips() if link.reaches(host)) if link else 0

    def host_ips(self) -> frozenset[str]:
        """Underlay addresses of all wanted peers."""
        return frozenset(peers[0].host_ip for peers in self._by_mac.values())

    def _hop(self, peer: Peer) -> Hop:
        """By the shared link where there is one and it speaks the subnet's family, else by the overlay."""
        direct, host = self._direct, peer.host_ip
        if direct is not None and (":" in host) == (":" in peer.cidr) and direct.reaches(host):
            return Hop(host, direct.device)
        return Hop(peer.vtep, self.device)

    def _alive(self, peer: Peer) -> bool:
        there = peer.phase == UP or (self._keep_down and peer.phase == DOWN)
        return there and bool(peer.host_ip) and self._reach.subnet(peer.cidr)

    def _wanted(self, peer: Peer) -> bool:
        return self._alive(peer) and self._reach.host(peer.host_ip)

    def _routed(self, cidr: str) -> bool:
        peer = self._claims.get(cidr)
        return peer is not None and self._wanted(peer)

    def _forget(self, peer: Peer) -> set[Mark]:
        self._own.pop(peer.cidr, None)
        self._apart.pop(peer.cidr, None)
        return self._leave(peer) if self._claims.pop(peer.cidr, None) else set()

    def _enter_where_wanted(self, peer: Peer) -> set[Mark]:
        self._apart.pop(peer.cidr, None)
        if self._wanted(peer):
            return self._enter(peer)
        if self._alive(peer):
            self._apart[peer.cidr] = peer
        return set()

    def _enter(self, peer: Peer) -> set[Mark]:
        alone = (peer,)
        for index, key in ((self._by_mac, peer.mac), (self._by_vtep, peer.vtep)):
            others = index.get(key)
            index[key] = tuple(sorted((*others, peer), key=lambda other: other.cidr)) if others else alone
        return _marks(peer)

    def _leave(self, peer: Peer) -> set[Mark]:
        if peer not in self._by_vtep.get(peer.vtep, ()):
            return set()
        for index, key in ((self._by_mac, peer.mac), (self._by_vtep, peer.vtep)):
            rest = tuple(other for other in index[key] if other is not peer)
            if rest:
                index[key] = rest
            else:
                del index[key]
        return _marks(peer)


def _marks(peer: Peer) -> set[Mark]:
    return {("neighbour", peer.vtep), ("fdb", peer.mac), ("route", peer.cidr)}
