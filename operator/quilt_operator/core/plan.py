"""The address plan of a QuiltNetwork, and which subnet comes next.

A pool holds the ranges of one address family and numbers its node subnets from 0, range after range; the
lowest free one is handed out first. Numbers ("slots") are meaningful only within one pool: extending the
ranges makes a new pool, and the book of claims is rebuilt for it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network

from quilt_crds.durations import parse_duration, parse_percent
from quilt_crds.quiltnetwork import QuiltNetworkSpec
from quilt_crds.underlay import believed
from quilt_operator.core.health import Policy

Network = IPv4Network | IPv6Network
CIDRS = {4: "clusterCIDRs", 6: "clusterCIDRsV6"}
"""The field of a QuiltNetwork that holds the ranges of a family."""


def parse_cidr(text: str) -> Network | None:
    """The network, when `text` is canonical and has no host bits; else None."""
    try:
        network = ip_network(text)
    except ValueError:
        return None
    return network if str(network) == text else None


@dataclass(frozen=True)
class Pool:
    """One family's ranges, each cut into subnets of `prefix_length` bits."""

    ranges: tuple[Network, ...]
    prefix_length: int
    reserving: bool = True
    """Whether the edges of the ranges are kept back."""

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        starts, total = [], 0
        for item in self.ranges:
            starts.append(total)
            total += 1 << (self.prefix_length - item.prefixlen)
        return (*starts, total)

    @property
    def slots(self) -> int:
        """How many subnets the ranges hold, the reserved ones included."""
        return self._starts[-1]

    @cached_property
    def reserved(self) -> frozenset[int]:
        """First and last subnet of every range that has more than two: never handed out unasked.

        Their network and broadcast addresses coincide with the range's own, which other equipment may treat
        as special (RFC 950 section 2.1 and its long shadow).
        """
        found: set[int] = set()
        for start, end in zip(self._starts, self._starts[1:], strict=False):
            if self.reserving and end - start > 2:
                found |= {start, end - 1}
        return frozenset(found)

    def slot_of(self, network: Network) -> int | None:
        """The slot that is exactly `network`, or None."""
        if network.prefixlen != self.prefix_length:
            return None
        found = self.overlapped(network)
        return found[0].start if found else None

    def contains(self, network: Network) -> bool:
        """Whether `network`, whatever its length, lies in one of the ranges."""
        return any(
            int(item.network_address) <= int(network.network_address)
            and int(network.broadcast_address) <= int(item.broadcast_address)
            for item in self.ranges
            if item.version == network.version
        )

    def overlapped(self, network: Network) -> tuple[range, ...]:
        """The slots that `network` overlaps, whatever its length; empty outside the ranges."""
        shift = network.max_prefixlen - self.prefix_length
        found = []
        for start, item in zip(self._starts, self.ranges, strict=False):
            if item.version == network.version and item.overlaps(network):
                base = int(item.network_address)
                low = max(int(network.network_address), base) - base
                high = min(int(network.broadcast_address), int(item.broadcast_address)) - base
                found.append(range(start + (low >> shift), start + (high >> shift) + 1))
        return tuple(found)

    def subnet(self, slot: int) -> Network:
        """The subnet of a slot; IndexError outside the pool."""
        for index, item in enumerate(self.ranges):
            if self._starts[index] <= slot < self._starts[index + 1]:
                width = item.max_prefixlen - self.prefix_length
                address = int(item.network_address) + ((slot - self._starts[index]) << width)
                return type(item)((address, self.prefix_length))
        raise IndexError(f"slot {slot} of {self.slots}")

    def free_slots(
        self, taken: Container[int], blocked: Sequence[range] = (), start: int = 0
    ) -> Iterator[int]:
        """Slots from `start` on that may be handed out, lowest first."""
        slot = start
        while slot < self.slots:
            wall = next((item for item in blocked if slot in item), None)
            if wall is not None:
                slot = wall.stop
                continue
            if slot not in taken and slot not in self.reserved:
                yield slot
            slot += 1


def make_pools(
    v4: Iterable[str],
    v4_length: int,
    v6: Iterable[str] = (),
    v6_length: int = 64,
    *,
    reserving: bool = True,
) -> dict[int, Pool]:
    """Pools by family (4, 6); a family without ranges is absent. ValueError for anything but CIDRs."""
    pools: dict[int, Pool] = {}
    for texts, length in ((v4, v4_length), (v6, v6_length)):
        if ranges := tuple(map(ip_network, texts)):
            pools[ranges[0].version] = Pool(ranges, length, reserving)
    return pools


@dataclass(frozen=True)
class Plan:
    """Address pools by family, the rules of health, and how long a deleted node's subnet waits (seconds)."""

    network: str
    pools: dict[int, Pool]
    policy: Policy
    grace: float
    underlay: tuple[Network, ...] = ()
    """Where an agent's own word for its host address is believed, as an administrator chose there."""
    adopts: bool = False
    """Whether the Nodes' podCIDRs are the subnets."""
    uid: str = ""
    generation: int = 0

    @classmethod
    def of(cls, network: str, spec: QuiltNetworkSpec, *, uid: str = "", generation: int = 0) -> Plan:
        """The plan of a QuiltNetwork's spec."""
        adopts = spec.ipam.mode == "kubernetes"
        return cls(
            network=network,
            pools=make_pools(
                spec.cluster_cidrs,
                spec.node_prefix_length,
                spec.cluster_cidrs_v6 or (),
                spec.node_prefix_length_v6,
                reserving=not adopts,
            ),
            policy=Policy(
                interval=parse_duration(spec.heartbeat.interval),
                timeout=parse_duration(spec.heartbeat.timeout),
                agent_only=spec.heartbeat.source == "Agent",
                threshold=parse_percent(spec.disruption_threshold),
            ),
            # Who hands out the subnets decides when one is used again.
            grace=0.0 if adopts else parse_duration(spec.reuse_grace_period),
            underlay=believed(spec.underlay.interface, spec.underlay.cidrs),
            adopts=adopts,
            uid=uid,
            generation=generation,
        )
