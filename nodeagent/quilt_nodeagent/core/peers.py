"""Who is in the mesh: the table of claims, and what the kernel should hold because of them.

The table is fed by QuiltSubnets and answers two questions at a cost that depends only on what is asked: which
places did this claim touch, and what should stand in a place. A claim is named by its CIDR, so one subnet can
never belong to two nodes here, whatever order events come in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from quilt_crds.names import DOWN, RELEASING, UP
from quilt_nodeagent.core.overlay import VXLAN, Entries, Hop, Kind, Mark, Overlay, unlike
from quilt_nodeagent.core.peer import Peer, Reach
from quilt_nodeagent.core.underlay import Direct, enclosing


@dataclass(frozen=True, slots=True)
class Way:
    """What decides which claims are routed, and how: the network's settings, and the underlay of this node.

    `device` is the overlay's, `keep_down` nodeDownPolicy: Keep routes to nodes that are Down, or withdraw
    them. What has no route in the networks `refused` is refused by this node. `reach` is what the overlay can
    carry, `direct` the link shared with peers (None: encapsulate everything).
    """

    device: str
    overlay: Overlay = VXLAN
    keep_down: bool = False
    refused: frozenset[str] = frozenset()
    reach: Reach = field(default_factory=Reach)
    direct: Direct | None = None


class PeerTable:
    """All claims of one network, seen from the node `own_node`.

    `complete` is False until the first complete list: before it, nothing may be called stale.
    """

    def __init__(self, own_node: str, device: str, overlay: Overlay = VXLAN) -> None:
        self.own_node = own_node
        self.way = Way(device, overlay)
        self.complete = False
        self._claims: dict[str, Peer] = {}
        self._own: dict[str, Peer] = {}
        self._kept: set[str] = set()
        self._index()

    def _index(self) -> None:
        """Sort all claims again, as the way is now."""
        self.device = self.way.device
        self._apart: dict[str, Peer] = {}
        # Those that should be routed, by CIDR and by node. Several of a node share entries of the overlay;
        # the smallest CIDR decides, so that order never matters.
        self._peers: dict[str, Peer] = {}
        self._nodes: dict[str, tuple[Peer, ...]] = {}
        self._users: dict[Kind, dict[str, tuple[Peer, ...]]] = {kind: {} for kind in self.way.overlay.kinds}
        for claim in self._claims.values():
            self._enter_where_wanted(claim)

    def __len__(self) -> int:
        return len(self._claims)

    @property
    def routed(self) -> int:
        """Number of peer subnets that should be routed."""
        return len(self._peers)

    @property
    def own(self) -> list[Peer]:
        """Claims of this node, by CIDR, those being released left out."""
        return sorted((c for c in self._own.values() if c.phase != RELEASING), key=lambda claim: claim.cidr)

    def claim(self, cidr: str) -> Peer | None:
        """Return the claim to a subnet, own ones included."""
        return self._claims.get(cidr) or self._own.get(cidr)

    def claims(self) -> list[Peer]:
        """Return every claim, own ones included."""
        return [*self._claims.values(), *self._own.values()]

    def upsert(self, claim: Peer) -> set[Mark]:
        """Take in a claim as it is now; return the places whose desired value may have changed."""
        self._kept.discard(claim.cidr)
        marks = self._end_kept(lambda kept: claim.replaces(kept))
        previous = self.claim(claim.cidr)
        if previous == claim:
            return marks
        if previous is not None:
            marks |= self._forget(previous)
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

    def delete(self, cidr: str, uid: str = "") -> set[Mark]:
        """Take note that a claim was deleted; `uid` as with `remove`.

        Nodes that leave give up their claims first (Releasing). Where that was not so, only the objects went,
        for example with their CRD: the subnet is still its node's. A peer's claim is then kept as it was
        until a claim of that node, or one that overlaps, replaces it, or the node is `gone`.
        """
        held = self._claims.get(cidr)
        if held is None or held.phase == RELEASING:
            return self.remove(cidr, uid)
        if not uid or uid == held.uid:
            self._kept.add(cidr)
        return set()

    @property
    def kept(self) -> list[str]:
        """Nodes whose claims were deleted and are kept."""
        return sorted({self._claims[cidr].node for cidr in self._kept})

    def gone(self, node: str) -> set[Mark]:
        """Forget what is kept of a node."""
        return self._end_kept(lambda kept: kept.node == node)

    def _end_kept(self, ends: Callable[[Peer], bool]) -> set[Mark]:
        kept = [self._claims[cidr] for cidr in self._kept]
        return {mark for claim in kept if ends(claim) for mark in self._forget(claim)}

    def fill(self, claims: Iterable[Peer]) -> None:
        """Take in the first complete list: nobody saw any place before, so that all are to be looked at."""
        for claim in {claim.cidr: claim for claim in claims}.values():
            self.upsert(claim)
        self.complete = True

    def replace(self, claims: Iterable[Peer]) -> set[Mark]:
        """Take in a complete list; return the places touched by the difference to what was known.

        What it lacks has gone meanwhile, given up unseen. An empty one shows that all objects went at once.
        """
        marks: set[Mark] = set()
        listed = {claim.cidr: claim for claim in claims}
        for held in self.claims():
            if held.cidr not in listed and held.cidr not in self._kept:
                marks |= self._forget(held) if listed else self.delete(held.cidr)
        for claim in listed.values():
            marks.update(self.upsert(claim))
        self.complete = True
        return marks

    def follow(self, way: Way) -> set[Mark]:
        """Follow other settings or another underlay; return the places whose desired value changed."""
        if way == self.way:
            return set()
        before, self.way = self.desired(), way
        self._index()
        return unlike(self.desired(), before)

    @property
    def apart(self) -> list[Peer]:
        """Peers left out for nothing but their host address, which is of the other IP family; by CIDR."""
        return [self._apart[cidr] for cidr in sorted(self._apart)]

    @property
    def is_odd(self) -> bool:
        """Whether it is rather this node whose host address is of the wrong family; IPv6's if in doubt."""
        others, alike = len({peer.node for peer in self._apart.values()}), 1 + len(self._nodes)
        return others > alike or (others == alike and bool(self.way.reach.host_v6))

    def desired(self) -> Entries:
        """What should stand in the kernel."""
        routes = {cidr: self._hop(peer) for cidr, peer in self._peers.items()}
        refused = dict.fromkeys(self.way.refused, True)
        entries: Entries = {"neighbour": {}, "fdb": {}, "route": routes, "unreachable": refused}
        for peer in self._peers.values():
            for kind, key, value in self.way.overlay.entries(peer):
                if self._users[kind][key][0] is peer:
                    entries[kind][key] = value
        return entries

    def desired_at(self, mark: Mark) -> str | Hop | bool | None:
        """What should stand in one place, None for nothing."""
        kind, key = mark
        if kind == "route":
            return self._hop(self._peers[key]) if key in self._peers else None
        if kind == "unreachable":
            return key in self.way.refused or None
        peers = self._users.get(kind, {}).get(key)
        return {of: value for of, _, value in self.way.overlay.entries(peers[0])}[kind] if peers else None

    def holder(self, address: str) -> Peer | None:
        """Return the claim whose subnet holds an address: the node's own, or one that is routed to."""
        for cidr in enclosing(address, range(128, 0, -1)):
            held = self._own.get(cidr) or self._peers.get(cidr)
            if held is not None and (held.node != self.own_node or held.phase != RELEASING):
                return held
        return None

    @property
    def direct(self) -> int:
        """Number of peers' hosts that are reached by the shared link."""
        link = self.way.direct
        return sum(1 for host in self.host_ips() if link.reaches(host)) if link else 0

    def host_ips(self) -> frozenset[str]:
        """Underlay addresses of all wanted peers."""
        # A copy of a set has room for what is in it; one that grew by one after the other for twice as much.
        return frozenset({peers[0].host_ip for peers in self._nodes.values()})

    def _hop(self, peer: Peer) -> Hop:
        """By the shared link where there is one and it speaks the subnet's family, else by the overlay."""
        direct, host = self.way.direct, peer.host_ip
        if direct is not None and (":" in host) == (":" in peer.cidr) and direct.reaches(host):
            return Hop(host, direct.device)
        return self.way.overlay.hop(peer, self.device)

    def _alive(self, peer: Peer) -> bool:
        there = peer.phase == UP or (self.way.keep_down and peer.phase == DOWN)
        return there and bool(peer.host_ip) and self.way.reach.subnet(peer.cidr)

    def _forget(self, peer: Peer) -> set[Mark]:
        self._kept.discard(peer.cidr)
        self._own.pop(peer.cidr, None)
        self._apart.pop(peer.cidr, None)
        return self._leave(peer) if self._claims.pop(peer.cidr, None) else set()

    def _enter_where_wanted(self, peer: Peer) -> set[Mark]:
        if self._alive(peer):
            if self.way.reach.host(peer.host_ip):
                return self._enter(peer)
            self._apart[peer.cidr] = peer
        return set()

    def _enter(self, peer: Peer) -> set[Mark]:
        alone = (peer,)
        self._peers[peer.cidr] = peer
        for index, key in self._indexes(peer):
            others = index.get(key)
            index[key] = tuple(sorted((*others, peer), key=lambda other: other.cidr)) if others else alone
        return self._marks(peer)

    def _leave(self, peer: Peer) -> set[Mark]:
        if self._peers.get(peer.cidr) != peer:
            return set()
        del self._peers[peer.cidr]
        for index, key in self._indexes(peer):
            rest = tuple(other for other in index[key] if other.cidr != peer.cidr)
            if rest:
                index[key] = rest
            else:
                del index[key]
        return self._marks(peer)

    def _indexes(self, peer: Peer) -> list[tuple[dict[str, tuple[Peer, ...]], str]]:
        return [
            (self._nodes, peer.node),
            *((self._users[k], key) for k, key, _ in self.way.overlay.entries(peer)),
        ]

    def _marks(self, peer: Peer) -> set[Mark]:
        marks: set[Mark] = {(kind, key) for kind, key, _ in self.way.overlay.entries(peer)}
        return marks | {("route", peer.cidr)}
