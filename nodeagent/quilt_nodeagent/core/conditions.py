"""What the agent says of its node, as conditions.

Everything here is written only when it changes, and nothing here changes with every join: a message that
counted peers would cost a write on every node for each node that joins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quilt_crds.names import CLAIM_LOST, DATAPLANE_IN_SYNC, RUNTIME_READY
from quilt_crds.wire import Condition


@dataclass(frozen=True, slots=True)
class Facts:
    """What the conditions are made of; `problems` and `warnings` are sentences, the worst first.

    `claim` is this node's own subnet, empty without one; `had_claim` whether it ever had one, in this life or
    by what the runtime still serves. `cni` is the condition of the CNI files, where a label decides.
    """

    listed: bool = False
    in_sync: bool = False
    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()
    host_ip: str = ""
    runtime: str = ""
    runtime_problems: Sequence[str] = ()
    runtime_warnings: Sequence[str] = ()
    claim: str = ""
    had_claim: str = ""
    cni: Condition | None = None


def conditions(facts: Facts) -> list[Condition]:
    """Return all conditions that the agent owns, in a fixed order."""
    by_label = [facts.cni] if facts.cni is not None else []
    return [_dataplane(facts), _runtime(facts), _claim(facts), *by_label]


def _dataplane(facts: Facts) -> Condition:
    text = " ".join((*facts.problems, *facts.warnings, facts.host_ip)).strip()
    if not facts.listed:
        waiting = "Waiting for the first complete list of QuiltSubnets; the kernel stays as it is."
        return Condition(DATAPLANE_IN_SYNC, "Unknown", "Starting", waiting)
    if facts.problems:
        return Condition(DATAPLANE_IN_SYNC, "False", "Problem", text)
    if not facts.in_sync:
        return Condition(DATAPLANE_IN_SYNC, "False", "Reconciling", text)
    return Condition(DATAPLANE_IN_SYNC, "True", "Warning" if facts.warnings else "InSync", text)


def _runtime(facts: Facts) -> Condition:
    if facts.runtime:
        return Condition(RUNTIME_READY, "False", "Unavailable", facts.runtime)
    if facts.runtime_problems:
        return Condition(RUNTIME_READY, "False", "Problem", " ".join(facts.runtime_problems))
    if facts.runtime_warnings:
        return Condition(RUNTIME_READY, "True", "Warning", " ".join(facts.runtime_warnings))
    return Condition(RUNTIME_READY, "True", "Ready")


def _claim(facts: Facts) -> Condition:
    if facts.claim:
        return Condition(CLAIM_LOST, "False", "Claimed")
    if facts.listed and facts.had_claim:
        text = f"No QuiltSubnet gives this node {facts.had_claim} any more; its pods run on, new ones wait."
        return Condition(CLAIM_LOST, "True", "NoClaim", text)
    return Condition(CLAIM_LOST, "False", "AwaitingClaim")
