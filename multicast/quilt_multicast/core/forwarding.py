"""From members and flows to what the kernel should hold.

A flow is a (source, group) that the kernel asked about because packets of it came. What becomes of it follows
from where its source lives, never from where the packet came in: the source's subnet is the reverse path, and
the kernel drops what comes another way. Copies to other nodes are only held for groups that somebody here
sends to, so that a node's tables grow with what it sends, not with the mesh.

Sources can be made up, and a pod can send to any number of groups. What comes from nobody's address, by the
wrong way or over a limit is shut out: the kernel drops it, as it would ask again and again and hold
up others' flows, and the oldest of these makes room for the next. So they cost nobody else's budget.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from quilt_multicast.core.members import Limits, LocalMembers, RemoteMembers
from quilt_multicast.core.mesh import Peer
from quilt_multicast.core.state import MESH_SIDE, POD_SIDE, Entries, Flow, Forward

# Looks without a packet after which a flow is forgotten.
IDLE_LOOKS = 6


class Topology:
    """Which subnets are whose: this node's own, and every peer's that is Up."""

    def __init__(self, own: Sequence[str] = (), peers: Sequence[Peer] = ()) -> None:
        subnets = {IPv4Network(peer.cidr): MESH_SIDE for peer in peers}
        subnets |= {IPv4Network(cidr): POD_SIDE for cidr in own}
        self.peers = {peer.vtep: peer for peer in peers}
        self._sides = {(int(held.network_address), held.prefixlen): side for held, side in subnets.items()}
        lengths = sorted({length for _, length in self._sides})
        self._masks = [(length, 0xFFFFFFFF << 32 - length & 0xFFFFFFFF) for length in lengths]
        self.vtep = str(min((IPv4Network(cidr).network_address for cidr in own), default=""))

    def side(self, source: str) -> int | None:
        """Return the interface by which packets of a source must come; None for a stranger."""
        number = int(IPv4Address(source))
        sides = (self._sides.get((number & mask, length)) for length, mask in self._masks)
        return min((side for side in sides if side is not None), default=None)


class Forwarding:
    """The table of flows, and what should stand in the kernel because of it."""

    def __init__(
        self,
        local: LocalMembers,
        remote: RemoteMembers,
        limits: Limits,
        admits: Callable[[str], bool] = lambda _source: True,
        key: Callable[[str], str] = lambda group: group,
        exists: Callable[[str], bool] = lambda _source: True,
    ) -> None:
        """Make an empty one; `exists` says whether an address of this node's subnets is a pod's."""
        self.local = local
        self.remote = remote
        self.limits = limits
        self._admits = admits
        # What the copies of a group are known by: more than one may have the same.
        self._key = key
        self._exists = exists
        self.topology = Topology()
        self._arrived: dict[Flow, int] = {}
        self._shut: dict[Flow, int] = {}
        self._displaced: set[str] = set()
        self._groups: dict[str, set[str]] = defaultdict(set)
        self._of_source: Counter[str] = Counter()
        # What each flow had carried at the last look, and for how many looks that is unchanged.
        self._carried: dict[Flow, tuple[int, int]] = {}
        self.refused_flows = 0

    @property
    def groups(self) -> Iterable[str]:
        """Groups that somebody sends to."""
        return self._groups.keys()

    def add(self, source: str, group: str, vif: int) -> bool:
        """Take in a flow that came in by interface `vif`; return False where it is shut out."""
        flow = (source, group)
        if flow in self._arrived:
            return True
        if not self._may_pass(source, vif):
            self.refused_flows += 1
            self._shut_out(flow, vif)
            return False
        self.forget(flow)
        self._arrived[flow] = vif
        self._of_source[source] += 1
        self._groups[group].add(source)
        return True

    def _may_pass(self, source: str, vif: int) -> bool:
        if len(self._arrived) >= self.limits.flows_per_node:
            return False
        return self._of_source[source] < self.limits.flows_per_pod and self._comes_right(source, vif)

    def _comes_right(self, source: str, vif: int) -> bool:
        side = self.topology.side(source)
        return side == vif and (side != POD_SIDE or self._exists(source))

    def _shut_out(self, flow: Flow, vif: int) -> None:
        if flow not in self._shut and len(self._shut) >= self.limits.shut_out:
            oldest = next(iter(self._shut))
            self.forget(oldest)
            self._displaced.add(oldest[1])
        self._shut[flow] = vif
        self._groups[flow[1]].add(flow[0])

    def take_displaced(self) -> set[str]:
        """Return the groups with a flow that made room for another one since the last call."""
        taken, self._displaced = self._displaced, set()
        return taken

    def reconsider(self, *, all_: bool = False) -> set[str]:
        """Forget what is shut out though it comes the right way now, or all, to be asked about it again.

        Returns the groups that this is about.
        """
        flows = [flow for flow, vif in self._shut.items() if all_ or self._comes_right(flow[0], vif)]
        for flow in flows:
            self.forget(flow)
        return {group for _, group in flows}

    def forget_idle(self, carried: Iterable[tuple[Flow, int]]) -> set[str]:
        """Forget flows that carried nothing for some looks: their sources may never send again.

        `carried` is what each flow of the kernel's table has counted until now; returns the groups.
        """
        held, self._carried = self._carried, {}
        groups: set[str] = set()
        for flow, total in carried:
            last, looks = held.get(flow, (-1, 0))
            looks = looks + 1 if last == total else 0
            if looks >= IDLE_LOOKS:
                self.forget(flow)
                groups.add(flow[1])
            else:
                self._carried[flow] = (total, looks)
        return groups

    def forget(self, flow: Flow) -> None:
        """Take out a flow that fell silent."""
        arrived = self._arrived.pop(flow, None) is not None
        if not arrived and self._shut.pop(flow, None) is None:
            return
        source, group = flow
        self._groups[group].discard(source)
        if not self._groups[group]:
            del self._groups[group]
        if not arrived:
            return
        self._of_source[source] -= 1
        if not self._of_source[source]:
            del self._of_source[source]

    def desired(self, groups: Iterable[str] | None = None) -> Entries:
        """What should stand in the kernel: about these groups, or about all."""
        found, peers = Entries(), self.topology.peers
        for group in list(self._groups) if groups is None else groups:
            hosts = {peers[vtep].host_ip for vtep in self.remote.members(group) if vtep in peers}
            for source in self._groups.get(group, ()):
                flow = (source, group)
                forward = self._forward(flow, bool(hosts))
                found.flows[flow] = forward
                if MESH_SIDE in forward.oifs:
                    found.copies |= {(self._key(group), host) for host in hosts}
        return found

    def _forward(self, flow: Flow, wanted_elsewhere: bool) -> Forward:
        source, group = flow
        side = self.topology.side(source)
        shut = self._shut.get(flow)
        if shut is not None and (shut == side or side is None):
            return Forward(shut)
        # One that came by the wrong way gets the right way's entry: it is dropped by that, a real one passes.
        if side == POD_SIDE:
            out = wanted_elsewhere and self._admits(source)
            return Forward(POD_SIDE, frozenset({MESH_SIDE}) if out else frozenset())
        if side == MESH_SIDE:
            return Forward(MESH_SIDE, frozenset({POD_SIDE}) if group in self.local else frozenset())
        return Forward(self._arrived[flow])
