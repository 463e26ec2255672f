"""Which of a node's addresses the mesh uses, and why: a wrong choice is invisible until packets get lost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidates:
    """Everything the choice rests on; empty strings mean "not given", `local` holds this host's addresses."""

    flag: str = ""
    spec: str = ""
    internal_ips: Sequence[str] = ()
    default_source: str = ""
    local: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class HostIP:
    """The chosen underlay address; `reason` is a clause for people, `local` whether this host has it."""

    address: str
    reason: str
    local: bool


def choose(candidates: Candidates) -> HostIP | None:
    """Choose the underlay address, or None while nothing points at one.

    An explicit wish is followed even when no interface has the address (yet): it may come, and silently using
    another one would put the node where nobody expects it.
    """
    internal = next((ip for ip in candidates.internal_ips if ip in candidates.local), "")
    for address, reason in (
        (candidates.flag, "from --host-ip"),
        (candidates.spec, "from the QuiltNode's spec.hostIP"),
        (internal, "the Node's InternalIP"),
        (candidates.default_source, _why_default(candidates.internal_ips)),
    ):
        if address:
            return HostIP(address, reason, address in candidates.local)
    return None


def _why_default(internal_ips: Sequence[str]) -> str:
    if not internal_ips:
        return "source address of the default route; the Node has no InternalIP"
    return f"source address of the default route; no interface has the Node's InternalIP {internal_ips[0]}"
