"""Which of a node's addresses the mesh uses, and why: a wrong choice is invisible until packets get lost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostIP:
    """The chosen underlay address; `reason` is a clause for people, `local` whether this host has it."""

    address: str
    reason: str
    local: bool


def choose(
    flag: str, spec: str, internal_ips: Sequence[str], default_source: str, local: Collection[str]
) -> HostIP | None:
    """Choose the underlay address, or None while nothing points at one.

    Empty strings mean "not given", `local` holds this host's addresses.
    An explicit wish is followed even when no interface has the address (yet): it may come, and silently using
    another one would put the node where nobody expects it.
    """
    internal = next((ip for ip in internal_ips if ip in local), "")
    for address, reason in (
        (flag, "from --host-ip"),
        (spec, "from the QuiltNode's spec.hostIP"),
        (internal, "the Node's InternalIP"),
        (default_source, _why_default(internal_ips)),
    ):
        if address:
            return HostIP(address, reason, address in local)
    return None


def _why_default(internal_ips: Sequence[str]) -> str:
    if not internal_ips:
        return "source address of the default route; the Node has no InternalIP"
    return f"source address of the default route; no interface has the Node's InternalIP {internal_ips[0]}"
