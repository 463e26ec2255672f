"""What the agent says of its node, as conditions.

Everything here is written only when it changes, and nothing here changes with every join: a message that
counted peers would cost a write on every node for each node that joins.
"""

from __future__ import annotations

from collections.abc import Sequence

from quilt_crds.names import CLAIM_LOST, DATAPLANE_IN_SYNC, RUNTIME_READY
from quilt_crds.wire import Condition


def dataplane(
    listed: bool, in_sync: bool, problems: Sequence[str], warnings: Sequence[str], host_ip: str = ""
) -> Condition:
    """Whether the kernel is as wanted; `problems` and `warnings` are sentences, the worst first.

    `listed` is whether the first complete list of claims is there, `host_ip` a sentence on its choice.
    """
    text = " ".join((*problems, *warnings, host_ip)).strip()
    if not listed:
        waiting = "Waiting for the first complete list of QuiltSubnets; the kernel stays as it is."
        return Condition(DATAPLANE_IN_SYNC, "Unknown", "Starting", waiting)
    if problems:
        return Condition(DATAPLANE_IN_SYNC, "False", "Problem", text)
    if not in_sync:
        return Condition(DATAPLANE_IN_SYNC, "False", "Reconciling", text)
    return Condition(DATAPLANE_IN_SYNC, "True", "Warning" if warnings else "InSync", text)


def runtime(error: str, problems: Sequence[str], warnings: Sequence[str]) -> Condition:
    """Whether the runtime is there (`error`: why not), and what it says of itself, as sentences."""
    if error:
        return Condition(RUNTIME_READY, "False", "Unavailable", error)
    if problems:
        return Condition(RUNTIME_READY, "False", "Problem", " ".join(problems))
    if warnings:
        return Condition(RUNTIME_READY, "True", "Warning", " ".join(warnings))
    return Condition(RUNTIME_READY, "True", "Ready")


def claim(listed: bool, held: bool, before: str) -> Condition:
    """Whether this node lost its subnet: it holds none, and had the one `before`, of whatever life."""
    if held:
        return Condition(CLAIM_LOST, "False", "Claimed")
    if listed and before:
        text = f"No QuiltSubnet gives this node {before} any more; its pods run on, new ones wait."
        return Condition(CLAIM_LOST, "True", "NoClaim", text)
    return Condition(CLAIM_LOST, "False", "AwaitingClaim")
