"""IGMP snooping of quilt0 and fast leave of its ports: what differs is written, and off means untouched."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from quilt_netlink import PLAIN, MulticastKernel, NetlinkError, Snooping, is_absent
from quilt_runtime.core.config import NodeConfig
from quilt_runtime.core.firewall import BRIDGE

log = structlog.get_logger()

WANTED = Snooping()


def ensure(kernel: MulticastKernel, names: Iterable[str], config: NodeConfig) -> list[str]:
    """Make bridge and ports as wanted; returns ["snooping"] for the bridge and one "fast_leave" per port.

    A bridge that nobody made a querier of is left alone while multicast is off.
    """
    on, fast_leave = config.multicast, config.fast_leave
    bridge = kernel.link(BRIDGE)
    held = kernel.snooping(bridge.index) if bridge is not None else None
    if bridge is None or held is None:
        return []
    repaired: list[str] = []
    if on and held != WANTED:
        kernel.set_snooping(bridge.index, WANTED)
        repaired.append("snooping")
    elif not on and held == WANTED:
        kernel.set_snooping(bridge.index, PLAIN)
        repaired.append("snooping")
    if on or repaired:
        repaired += ["fast_leave" for name in names if _ensure_port(kernel, name, on and fast_leave)]
    return repaired


def ensure_port(name: str, config: NodeConfig) -> None:
    """Make a new pod's port as wanted; where that fails the next look at the links does it."""
    try:
        with MulticastKernel.open() as kernel:
            _ensure_port(kernel, name, config.multicast and config.fast_leave)
    except NetlinkError as error:
        log.warning("fast_leave_not_set", interface=name, error=str(error))


def _ensure_port(kernel: MulticastKernel, name: str, wanted: bool) -> bool:
    link = kernel.link(name)
    if link is None or kernel.fast_leave(link.index) in (None, wanted):
        return False
    try:
        kernel.set_fast_leave(link.index, wanted)
    except NetlinkError as error:
        if error.errno is not None and is_absent(error.errno):
            return False
        raise
    return True
