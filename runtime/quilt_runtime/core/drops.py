"""Why the node's tables drop a packet: each reason is a named counter of its table, which the rule counts.

What is accepted passes no counter. A table that is written again counts from 0, as after a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

IN, OUT = "in", "out"
"""To the node or its pods, and from its pods."""
Reasons = Mapping[str, str]
"""The direction of what is dropped for each reason."""

FIREWALL: Reasons = {
    "overlay_unknown_peer": IN,
    "spoofed_from_outside": IN,
    "redirect_to_pod": IN,
    "overlay_from_pod": OUT,
    "overlay_forwarded": OUT,
    "probe_from_pod": OUT,
    "multicast_from_pod": OUT,
}
"""Of the table `inet quilt`."""
GUARD: Reasons = {
    "guard_destination": OUT,
    "guard_protocol": OUT,
    "guard_arp": OUT,
    "guard_address": OUT,
    "guard_router": OUT,
}
"""Of the table `bridge quilt`: frames for another than the node, of another protocol, in another's name."""
POLICY: Reasons = {
    "policy_ingress": IN,
    "policy_egress": OUT,
    "policy_invalid_ingress": IN,
    "policy_invalid_egress": OUT,
    "policy_unannounced": "both",
}
"""Of the table `inet quilt-policy`: by its rules, without a connection to judge, of an unannounced pod."""


def drop(reason: str) -> str:
    """Return the end of a rule that drops."""
    return f"counter name {reason} drop"


def declared(reasons: Iterable[str]) -> list[str]:
    """Return the counters of a table's text."""
    return [f"  counter {reason} {{ }}" for reason in reasons]
