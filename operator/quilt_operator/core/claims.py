"""The book of claims: who owns which subnet, what is free, and which claims are not as they should be.

The API server is the only lock (a claim's name is its CIDR); this book is the operator's view of it. It
accepts whatever it is given: a malformed, foreign or overlapping claim is entered as a problem, blocks the
addresses that it touches, and is never overwritten.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from itertools import islice
from typing import Final, TypeVar

from quilt_crds.names import RELEASING, UP, claim_name, vtep_mac
from quilt_crds.wire import QuiltSubnet
from quilt_crds.wire_network import SubnetCounts
from quilt_operator.core.plan import Network, Plan, parse_cidr

_T = TypeVar("_T")

MALFORMED: Final = "Malformed"
OUT_OF_RANGE: Final = "OutOfRange"
WRONG_LENGTH: Final = "WrongLength"
FOREIGN_NETWORK: Final = "ForeignNetwork"
MAC_COLLISION: Final = "MACCollision"
# A kubelet writes its own Node's addresses: however many it makes up, they do not use up the ranges.
_HEEDED_OF_A_NODE = 8


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one claim, for a condition and an Event."""

    claim: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Entry:
    claim: QuiltSubnet
    network: Network | None
    problem: Problem | None
    slots: tuple[range, ...] = ()
    family: int = 0
    mac: str = ""

    @property
    def owned(self) -> bool:
        """Whether the claim's node really has this subnet.

        One outside the ranges still counts: taking a running node's addresses away is worse than an untidy
        plan. One of another network does not, nor one of another length unless Kubernetes cut it: no agent
        could use it.
        """
        return self.problem is None or self.problem.reason == OUT_OF_RANGE

    @property
    def slot(self) -> int | None:
        """The slot that the claim occupies; None where it touches none or several."""
        single = len(self.slots) == 1 and len(self.slots[0]) == 1
        return self.slots[0].start if single else None


class Book:
    """All claims, indexed for the questions that reconciling asks. Not thread-safe."""

    def __init__(self, plan: Plan, claims: Iterable[QuiltSubnet] = ()) -> None:
        self.plan = plan
        self._entries: dict[str, _Entry] = {}
        self._by_node: dict[str, set[str]] = {}
        self._by_mac: dict[str, set[str]] = {}
        self._by_host_ip: dict[str, set[str]] = {}
        self._taken: dict[int, Counter[int]] = {family: Counter() for family in plan.pools}
        self._blocked: dict[int, Counter[range]] = {family: Counter() for family in plan.pools}
        self._left_out: dict[str, list[tuple[int, int]]] = {}
        # No slot below is free: without it, each of many nodes that join at once would search from 0.
        self._low = dict.fromkeys(plan.pools, 0)
        for claim in claims:
            self.put(claim)

    @property
    def problems(self) -> dict[str, Problem]:
        """What is wrong with claims, by their names."""
        return {name: entry.problem for name, entry in self._entries.items() if entry.problem is not None}

    def put(self, claim: QuiltSubnet) -> None:
        """Enter a claim, in place of an older state of the same one."""
        self.remove(claim.name)
        entry = self._examine(claim)
        self._entries[claim.name] = entry
        self._count(entry, 1)
        for index, key in self._keys(entry):
            index.setdefault(key, set()).add(claim.name)

    def remove(self, name: str) -> None:
        """Forget a claim; unknown names are fine."""
        entry = self._entries.pop(name, None)
        if entry is None:
            return
        self._count(entry, -1)
        for index, key in self._keys(entry):
            index[key].discard(name)
            if not index[key]:
                del index[key]

    def leave_out(self, node: str, addresses: Iterable[str]) -> None:
        """Hand out no subnet that holds one of a Node's addresses, in place of those reported for it before.

        It stays whose it is, and may be asked for by name: only unasked it is given to nobody.
        """
        for family, slot in self._left_out.pop(node, ()):
            self._low[family] = min(self._low[family], slot)
        if found := list(islice(self._slots_of(sorted(addresses)), _HEEDED_OF_A_NODE)):
            self._left_out[node] = found

    def _left_out_of(self, family: int) -> set[int]:
        return {slot for found in self._left_out.values() for version, slot in found if version == family}

    def _slots_of(self, addresses: Iterable[str]) -> Iterable[tuple[int, int]]:
        for text in addresses:
            try:
                address = ip_network(text)
            except ValueError:
                continue
            pool = self.plan.pools.get(address.version)
            yield from (
                (address.version, found.start) for found in (pool.overlapped(address) if pool else ())
            )

    def get(self, name: str) -> QuiltSubnet | None:
        """The claim of that name, or None."""
        entry = self._entries.get(name)
        return None if entry is None else entry.claim

    def nodes(self) -> set[str]:
        """Names of all nodes that any claim names."""
        return set(self._by_node)

    def owned_by(self, node: str) -> tuple[tuple[int, QuiltSubnet], ...]:
        """(family, claim) of every usable claim of a node, Releasing ones included, oldest first."""
        entries = [self._entries[name] for name in self._by_node.get(node, ())]
        usable = [entry for entry in entries if entry.owned]

        def age(entry: _Entry) -> tuple[str, int]:
            first = int(entry.network.network_address) if entry.network else 0
            return entry.claim.metadata.creation_timestamp, first

        usable.sort(key=age)
        return tuple((entry.family, entry.claim) for entry in usable)

    def mac_holder(self, mac: str, node: str) -> str | None:
        """Another node than `node` whose derived VTEP MAC is `mac`, if there is one."""
        owners = (self._entries[name].claim.node for name in self._by_mac.get(mac, ()))
        return next((owner for owner in owners if owner != node), None)

    def host_ip_holder(
        self, address: str, node: str, confirmed: Callable[[str], bool] = lambda _: True
    ) -> str | None:
        """Another node than `node` that is Up under `address` and `confirmed` to have it, if there is one.

        One that is Down does not hold its address: clouds give it to the next machine.
        """
        owners = (self._entries[name].claim for name in self._by_host_ip.get(address, ()))
        up = (claim.node for claim in owners if claim.mesh.phase == UP)
        return next((other for other in up if other != node and confirmed(other)), None)

    def holder(self, cidr: str) -> QuiltSubnet | None:
        """The claim that is in the way of `cidr` in this view, or None."""
        exact = self.get(claim_name(cidr))
        if exact is not None:
            return exact
        network = parse_cidr(cidr)
        if network is not None and self._untouched(network):
            return None
        overlapping = (
            entry.claim
            for entry in self._entries.values()
            if network is not None and entry.network is not None
            if network.version == entry.network.version and network.overlaps(entry.network)
        )
        return next(overlapping, None)

    def is_free(self, cidr: str, family: int) -> bool:
        """Whether `cidr` is a subnet of the family's pool that no claim touches."""
        network = parse_cidr(cidr)
        slot = self.plan.pools[family].slot_of(network) if network is not None else None
        return slot is not None and self.holder(cidr) is None

    def lowest_free(self, family: int) -> Network | None:
        """The subnet to claim next in `family`, or None when its pool is exhausted."""
        pool = self.plan.pools[family]
        taken = ChainMap(self._taken[family], dict.fromkeys(self._left_out_of(family), 1))
        free = pool.free_slots(taken, tuple(self._blocked[family]), self._low[family])
        slot = next(free, pool.slots)
        self._low[family] = slot
        return pool.subnet(slot) if slot < pool.slots else None

    def counts(self, family: int) -> SubnetCounts:
        """How the pool of `family` is used. What is not handed out counts only where somebody holds it."""
        pool = self.plan.pools[family]
        used = set(self._taken[family])
        blocked = sum(len(item) for item in self._blocked[family])
        total = pool.slots - len((pool.reserved | self._left_out_of(family)) - used)
        quarantined = sum(
            entry.claim.mesh.phase == RELEASING
            for entry in self._entries.values()
            if entry.family == family and entry.slot is not None
        )
        return SubnetCounts(
            total=total,
            allocated=len(used) - quarantined,
            free=max(0, total - len(used) - blocked),
            quarantined=quarantined,
        )

    def _examine(self, claim: QuiltSubnet) -> _Entry:
        network = parse_cidr(claim.cidr)
        if network is None or claim.name != claim_name(claim.cidr) or not claim.node:
            return _Entry(claim, network, Problem(claim.name, MALFORMED, f"{claim.cidr!r} is not a claim"))
        pool = self.plan.pools.get(network.version)
        slots = pool.overlapped(network) if pool else ()
        return _Entry(
            claim, network, self._problem(claim, network), slots, network.version,
            vtep_mac(self.plan.network, claim.node),
        )  # fmt: skip

    def _problem(self, claim: QuiltSubnet, network: Network) -> Problem | None:
        pool = self.plan.pools.get(network.version)
        if claim.spec.network != self.plan.network:
            text = f"belongs to network {claim.spec.network}, not {self.plan.network}"
            return Problem(claim.name, FOREIGN_NETWORK, text)
        if pool is not None and network.prefixlen != pool.prefix_length and not self.plan.adopts:
            text = f"is a /{network.prefixlen}, this network's node subnets are /{pool.prefix_length}"
            return Problem(claim.name, WRONG_LENGTH, text)
        if pool is None or not pool.contains(network):
            return Problem(claim.name, OUT_OF_RANGE, "lies outside the network's clusterCIDRs")
        return None

    def _untouched(self, network: Network) -> bool:
        """Whether `network` is a slot that no claim can overlap; False where only a look at all tells."""
        pool = self.plan.pools.get(network.version)
        slot = pool.slot_of(network) if pool is not None else None
        if slot is None or slot in self._taken[network.version]:
            return False
        return not any(slot in item for item in self._blocked[network.version])

    def _count(self, entry: _Entry, step: int) -> None:
        for item in entry.slots:
            if step < 0:
                self._low[entry.family] = min(self._low[entry.family], item.start)
            if entry.slot is None:
                _add(self._blocked[entry.family], item, step)
            else:
                _add(self._taken[entry.family], entry.slot, step)

    def _keys(self, entry: _Entry) -> list[tuple[dict[str, set[str]], str]]:
        claim = entry.claim
        keys = [(self._by_node, claim.node)]
        if entry.mac:
            keys.append((self._by_mac, entry.mac))
        if claim.mesh.host_ip:
            keys.append((self._by_host_ip, claim.mesh.host_ip))
        return keys


def _add(counter: Counter[_T], key: _T, step: int) -> None:
    counter[key] += step
    if not counter[key]:
        del counter[key]
