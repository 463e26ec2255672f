"""What the operator says about a QuiltNode: phase, subnets, MAC and its conditions.

Every apply repeats all fields of the field manager (server-side apply deletes what is left out), so a status
is always computed whole and compared whole; equal means that nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from quilt_crds.names import (
    AGENT_UNRESPONSIVE,
    CLAIM_LOST,
    DATAPLANE_IN_SYNC,
    DOWN,
    NODE_DOWN,
    OPERATOR_CONDITIONS,
    OPERATOR_STATUS_FIELDS,
    PENDING,
    READY,
    RUNTIME_READY,
    SUBNET_ALLOCATED,
    SUBNET_IN_USE,
    UP,
    WITHDRAWAL_PAUSED,
)
from quilt_crds.wire import Condition, QuiltNode, QuiltNodeStatus, QuiltSubnet
from quilt_operator.core.desired import Address
from quilt_operator.core.health import Health
from quilt_operator.core.plan import Plan

# The CRD's limit; the claims decide, these are shown.
_SUBNETS_LIMIT = 4
# Conditions of nodes and of the network that are bad news when True; all others are when False.
_BAD_WHEN_TRUE = {AGENT_UNRESPONSIVE, SUBNET_IN_USE, WITHDRAWAL_PAUSED}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node has no subnet: a CamelCase reason and a sentence that says what to do."""

    reason: str
    message: str


def no_pod_cidr(plan: Plan, wanted: Mapping[int, str]) -> Refusal | None:
    """Why a node whose subnets are chosen by Kubernetes lacks one; `wanted` are its podCIDRs by family."""
    lacking = [family for family in plan.pools if family not in wanted]
    if not plan.adopts or not lacking:
        return None
    return Refusal(
        "NoPodCIDR",
        f"ipam.mode is kubernetes and the Node has no IPv{lacking[0]} podCIDR; start "
        "kube-controller-manager with --allocate-node-cidrs and --cluster-cidr",
    )


def current(node: QuiltNode) -> QuiltNodeStatus:
    """The operator's part of the status that the node has."""
    held = node.status
    own = tuple(item for type_ in OPERATOR_CONDITIONS if (item := node.condition(type_)) is not None)
    return QuiltNodeStatus(
        phase=held.phase,
        subnets=held.subnets,
        mac=held.mac,
        last_transition_time=held.last_transition_time,
        conditions=own,
    )


def wire(status: QuiltNodeStatus) -> dict[str, Any]:
    """JSON of the operator's part of `.status`, for server-side apply."""
    given = msgspec.json.decode(msgspec.json.encode(status))
    return {name: given[name] for name in (*OPERATOR_STATUS_FIELDS, "conditions")}


def desired(
    node: QuiltNode,
    claims: Sequence[QuiltSubnet],
    health: Health,
    address: Address,
    mac: str,
    refusal: Refusal | None,
    now: str,
    moves: Sequence[tuple[QuiltSubnet, QuiltSubnet]] = (),
) -> QuiltNodeStatus:
    """The status that `node` should have; times move only where the state that they date changed.

    `moves` are pairs of claims: the one that pods still use, and the one that was granted in its place.
    """
    phase = _phase(claims, health, address)
    verdicts = (
        _subnet_allocated(claims, refusal),
        _ready(node, claims, health, address, refusal),
        _agent_unresponsive(health),
        # There only while it is so: on all other nodes it would say nothing.
        *([_subnet_in_use(node, moves)] if moves else []),
    )
    since = node.status.last_transition_time if node.status.phase == phase else ""
    return QuiltNodeStatus(
        phase=phase,
        subnets=tuple(claim.cidr for claim in claims)[:_SUBNETS_LIMIT],
        mac=mac if claims else "",
        last_transition_time=since or now,
        conditions=tuple(
            item.settled(node.condition(item.type), now, node.metadata.generation) for item in verdicts
        ),
    )


def news(before: Iterable[Condition], now: Iterable[Condition]) -> Iterator[tuple[Condition, bool]]:
    """Conditions that became bad, or bad for another reason (True), and those that are good again (False)."""
    known = {item.type: item for item in before}
    for item in now:
        old = known.get(item.type)
        bad = item.status == ("True" if item.type in _BAD_WHEN_TRUE else "False")
        if bad and (old is None or (old.status, old.reason) != (item.status, item.reason)):
            yield item, True
        elif not bad and old is not None and old.status != item.status:
            yield item, False


def _phase(claims: Sequence[QuiltSubnet], health: Health, address: Address) -> str:
    if health.down:
        return DOWN
    return UP if claims and address.host_ip and health.seen else PENDING


def _subnet_allocated(claims: Sequence[QuiltSubnet], refusal: Refusal | None) -> Condition:
    if refusal is not None:
        return Condition(SUBNET_ALLOCATED, "False", refusal.reason, refusal.message)
    if not claims:
        return Condition(SUBNET_ALLOCATED, "False", PENDING, "waiting for a subnet")
    return Condition(SUBNET_ALLOCATED, "True", "Claimed", ", ".join(claim.cidr for claim in claims))


def _subnet_in_use(node: QuiltNode, moves: Sequence[tuple[QuiltSubnet, QuiltSubnet]]) -> Condition:
    old, new = (", ".join(dict.fromkeys(claim.cidr for claim in side)) for side in zip(*moves, strict=True))
    text = (
        f"{new} is granted, but pods of this node have addresses of {old}, which stays until its runtime "
        f"serves the new one: drain first (kubectl drain {node.name} --ignore-daemonsets "
        "--delete-emptydir-data) and delete the pods that remain, or reboot the node"
    )
    return Condition(SUBNET_IN_USE, "True", "DrainFirst", text)


def _agent_unresponsive(health: Health) -> Condition:
    if health.agent_unresponsive:
        text = "the agent stopped renewing its Lease; look at the quilt-agent Pod of this node"
        return Condition(AGENT_UNRESPONSIVE, "True", "LeaseNotRenewed", text)
    return Condition(AGENT_UNRESPONSIVE, "False", "LeaseRenewed")


def _ready(
    node: QuiltNode, claims: Sequence[QuiltSubnet], health: Health, address: Address, refusal: Refusal | None
) -> Condition:
    if health.down:
        text = "neither the agent nor the kubelet renews its Lease; routes to this node are withdrawn"
        return Condition(READY, "False", NODE_DOWN, text)
    if refusal is not None or not claims:
        return Condition(READY, "False", "NoSubnet", refusal.message if refusal else "waiting for a subnet")
    if not health.seen:
        return Condition(
            READY, "False", "NotJoined", "prepared: no agent of a node of this name has reported yet"
        )
    if address.reason:
        return Condition(READY, "False", address.reason, address.message)
    if health.agent_unresponsive:
        text = "the agent does not answer; what it set up keeps forwarding"
        return Condition(READY, "Unknown", AGENT_UNRESPONSIVE, text)
    return _ready_by_agent(node)


def _ready_by_agent(node: QuiltNode) -> Condition:
    lost = node.condition(CLAIM_LOST)
    if lost is not None and lost.status == "True":
        return Condition(READY, "False", CLAIM_LOST, lost.message)
    for type_, reason in ((RUNTIME_READY, "RuntimeNotReady"), (DATAPLANE_IN_SYNC, "DataplaneNotInSync")):
        reported = node.condition(type_)
        if reported is None:
            return Condition(READY, "Unknown", reason, f"the agent has not reported {type_} yet")
        if reported.status != "True":
            return Condition(READY, "False", reason, reported.message or reported.reason)
    return Condition(READY, "True", "InMesh")
