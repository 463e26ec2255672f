"""What the operator reports of the QuiltNetwork: how full it is, and what is in its way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import ip_address

from quilt_crds.capacity import crowding
from quilt_crds.names import (
    AGENTS_RESPONSIVE,
    CLAIMS_CONSISTENT,
    NETWORK_ACCEPTED,
    PODS_FIT,
    READY,
    SUBNETS_AVAILABLE,
    WITHDRAWAL_PAUSED,
)
from quilt_crds.wire import Condition, Node
from quilt_crds.wire_network import QuiltNetworkStatus, SubnetCounts
from quilt_operator.core.claims import Book, Problem
from quilt_operator.core.health import Guard
from quilt_operator.core.plan import CIDRS, Plan, parse_cidr

_NAMED_AT_MOST = 5


def desired(
    book: Book,
    guard: Guard,
    refused: str,
    overlaps: Sequence[str],
    old: Sequence[Condition],
    now: str,
    outage: float = 0.0,
    crowds: str = "",
) -> QuiltNetworkStatus:
    """The status that the network should have; its counts are those of the first family.

    `refused` is the API server's answer to the chart's last change ("" when it took it), `overlaps` what
    `overlapping` found, `outage` the seconds for which nobody could lead while its aftermath lasts, `crowds`
    which nodes may run more pods than they have addresses for.
    """
    counts = {family: book.counts(family) for family in book.plan.pools}
    accepted, consistent = _accepted(refused, overlaps), _consistent(book.problems.values())
    verdicts = (
        _ready(accepted, consistent),
        accepted,
        _available(counts),
        consistent,
        _paused(guard, outage),
        _agents(guard),
        _fits(crowds),
    )
    known, generation = {item.type: item for item in old}, book.plan.generation
    return QuiltNetworkStatus(
        observed_generation=generation,
        subnets=next(iter(counts.values()), SubnetCounts()),
        conditions=tuple(item.settled(known.get(item.type), now, generation) for item in verdicts),
    )


def crowded(plan: Plan, nodes: Iterable[Node]) -> str:
    """Which nodes may run more pods than their IPv4 subnets have addresses for; empty when none."""
    pool = plan.pools.get(4)
    if pool is None:
        return ""
    lengths = ((node, _prefix_length(plan, node, pool.prefix_length)) for node in nodes)
    return crowding((node.name, node.pods, length) for node, length in lengths)


def _prefix_length(plan: Plan, node: Node, planned: int) -> int:
    if not plan.adopts:
        return planned
    own = (network for text in node.spec.pod_cidrs if (network := parse_cidr(text)) is not None)
    return next((network.prefixlen for network in own if network.version == 4), planned)


def overlapping(plan: Plan, nodes: Collection[Node], services: Iterable[str] = ()) -> list[str]:
    """Service networks, and addresses as `address of Node name`, that lie in the network's ranges."""
    ranges = [item for pool in plan.pools.values() for item in pool.ranges]
    networks = [
        f"Service network {text}"
        for text in services
        if (network := parse_cidr(text)) is not None
        and any(network.version == item.version and network.overlaps(item) for item in ranges)
    ]
    found = []
    for node in nodes:
        for text in node.ips:
            try:
                address = ip_address(text)
            except ValueError:
                continue
            if any(address in item for item in ranges if item.version == address.version):
                found.append(f"{text} of Node {node.name}")
    return [*sorted(networks), *sorted(found)]


def _ready(*needed: Condition) -> Condition:
    """Ready, for `kubectl wait` and GitOps: the operator follows the spec, and nothing contradicts it."""
    for item in needed:
        if item.status != "True":
            return Condition(READY, "False", item.reason, item.message)
    return Condition(READY, "True", "Followed")


def _accepted(refused: str, overlaps: Sequence[str]) -> Condition:
    if refused:
        return Condition(NETWORK_ACCEPTED, "False", "ChangeRefused", refused)
    if overlaps:
        text = (
            f"clusterCIDRs overlap {_some(overlaps)}. Subnets that hold an address of a Node are left out; "
            "while a Service network overlaps, no subnet is assigned"
        )
        return Condition(NETWORK_ACCEPTED, "False", "Overlaps", text)
    return Condition(NETWORK_ACCEPTED, "True", "Valid")


def _available(counts: Mapping[int, SubnetCounts]) -> Condition:
    for family, item in counts.items():
        if not item.free:
            text = (
                f"no IPv{family} subnet is free: {item.total} in all, {item.allocated} allocated, "
                f"{item.quarantined} in quarantine; add a range to {CIDRS[family]}"
            )
            return Condition(SUBNETS_AVAILABLE, "False", "Exhausted", text)
    return Condition(SUBNETS_AVAILABLE, "True", "Free")


def _consistent(problems: Iterable[Problem]) -> Condition:
    found = sorted(f"QuiltSubnet {item.claim} {item.message}" for item in problems)
    if found:
        return Condition(CLAIMS_CONSISTENT, "False", "FaultyClaims", _some(found))
    return Condition(CLAIMS_CONSISTENT, "True", "Consistent")


def _paused(guard: Guard, outage: float) -> Condition:
    if outage:
        text = (
            f"no operator reached the API server for {outage:.0f} s; "
            "no node is withdrawn before it had a full time-out since"
        )
        return Condition(WITHDRAWAL_PAUSED, "True", "ApiServerWasLost", text)
    if guard.blind:
        text = "the operator cannot read Leases; no node is withdrawn until it can"
        return Condition(WITHDRAWAL_PAUSED, "True", "CannotSeeLeases", text)
    if guard.active:
        text = (
            "so many nodes are silent at once that the fault is likely elsewhere; "
            "no further node is withdrawn until fewer are"
        )
        return Condition(WITHDRAWAL_PAUSED, "True", "TooManySilent", text)
    return Condition(WITHDRAWAL_PAUSED, "False", "Normal")


def _agents(guard: Guard) -> Condition:
    if guard.agents and not guard.active:
        text = (
            "so many agents stopped renewing their Leases at once that the fault is one; their nodes are not "
            "marked one by one; look at the agents' logs and their right to write Leases in quilt-node-lease"
        )
        return Condition(AGENTS_RESPONSIVE, "False", "TooManySilent", text)
    return Condition(AGENTS_RESPONSIVE, "True", "LeasesRenewed")


def _fits(text: str) -> Condition:
    if text:
        return Condition(PODS_FIT, "False", "MorePodsThanAddresses", text)
    return Condition(PODS_FIT, "True", "EnoughAddresses")


def _some(items: Sequence[str]) -> str:
    shown = "; ".join(items[:_NAMED_AT_MOST])
    rest = len(items) - _NAMED_AT_MOST
    return f"{shown}; and {rest} more" if rest > 0 else shown
