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

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from quilt_multicast.core.limits import Limits
from quilt_multicast.core.members import LocalMembers, RemoteMembers
from quilt_multicast.core.mesh import Peer
from quilt_multicast.core.state import MESH_SIDE, POD_SIDE, Entries, Flow, Forward


class Topology:
    """Which subnets are whose: this node's own, and every peer's that is Up."""

    def __init__(self, own: Sequence[str] = (), peers: Sequence[Peer] = ()) -> None:
        self._own = {int(IPv4Network(cidr).network_address): IPv4Network(cidr).prefixlen for cidr in own}
        self.peers = {peer.vtep: peer for peer in peers}
        remote = [IPv4Network(peer.cidr) for peer in peers]
        self._remote = {int(subnet.network_address): subnet.prefixlen for subnet in remote}
        lengths = {*self._own.values(), *self._remote.values()}
        self._masks = [(length, 0xFFFFFFFF << 32 - length & 0xFFFFFFFF) for length in sorted(lengths)]
        self.vtep = str(IPv4Address(min(self._own))) if self._own else ""

    def is_own(self, source: str) -> bool:
        """Whether an address is one of this node's pods'."""
        number = int(IPv4Address(source))
        return any(self._own.get(number & mask) == length for length, mask in self._masks)

    def is_remote(self, source: str) -> bool:
        """Whether an address is one of a peer's pods'."""
        number = int(IPv4Address(source))
        return any(self._remote.get(number & mask) == length for length, mask in self._masks)

    def side(self, source: str) -> int | None:
        """Return the interface by which packets of a source must come; None for a stranger."""
        if self.is_own(source):
            return POD_SIDE
        return MESH_SIDE if self.is_remote(source) else None


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
        self._of_source: dict[str, int] = {}
        self.refused_flows = 0

    @property
    def flows(self) -> Iterable[Flow]:
        """Every flow that is known."""
        return [*self._arrived, *self._shut]

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
        self._of_source[source] = self._of_source.get(source, 0) + 1
        self._groups[group].add(source)
        return True

    def _may_pass(self, source: str, vif: int) -> bool:
        limits = self.limits
        if len(self._arrived) >= limits.flows_per_node:
            return False
        if self._of_source.get(source, 0) >= limits.flows_per_pod:
            return False
        return self._comes_right(source, vif)

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
        found = Entries()
        for group in list(self._groups) if groups is None else groups:
            hosts = self._hosts(group)
            for source in self._groups.get(group, ()):
                flow = (source, group)
                forward = self._forward(flow, bool(hosts))
                found.flows[flow] = forward
                if MESH_SIDE in forward.oifs:
                    found.copies |= {(self._key(group), host) for host in hosts}
        return found

    def _hosts(self, group: str) -> set[str]:
        peers = self.topology.peers
        return {peers[vtep].host_ip for vtep in self.remote.nodes(group) if vtep in peers}

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
