"""IGMP snooping of quilt0, fast leave and limits of its ports: what differs is written, off means untouched.

A bridge whose table of groups is full gives up snooping for all. So it is large, and each pod fills its own
part of it alone: as many as a QuiltNetwork's maxGroupsPerPod can be.
"""

from __future__ import annotations

from collections.abc import Iterable

from quilt_crds.names import BRIDGE_DEVICE
from quilt_log import log
from quilt_netlink import FAST_LEAVE, MAX_GROUPS, PLAIN, MulticastKernel, NetlinkError, Snooping, is_absent
from quilt_runtime.core.config import NodeConfig

WANTED = Snooping()
MOST_GROUPS = 4096


def ensure(kernel: MulticastKernel, names: Iterable[str], config: NodeConfig) -> list[str]:
    """Make bridge and ports as wanted; returns ["snooping"] for the bridge and one "multicast_port" per port.

    A bridge that nobody made a querier of is left alone while multicast is off.
    """
    bridge = kernel.link(BRIDGE_DEVICE)
    held = kernel.snooping(bridge.index) if bridge is not None else None
    if bridge is None or held is None:
        return []
    on, repaired = config.multicast, []
    if (held == WANTED) != on:
        kernel.set_snooping(bridge.index, WANTED if on else PLAIN)
        repaired.append("snooping")
    if on or repaired:
        repaired += ["multicast_port" for name in names if _ensure_port(kernel, name, config)]
    return repaired


def ensure_port(name: str, config: NodeConfig) -> None:
    """Make a new pod's port as wanted; where that fails the next look at the links does it."""
    try:
        with MulticastKernel.open() as kernel:
            _ensure_port(kernel, name, config)
    except NetlinkError as error:
        log.warning("multicast_port_not_set", interface=name, error=str(error))


def _ensure_port(kernel: MulticastKernel, name: str, config: NodeConfig) -> bool:
    link = kernel.link(name)
    if link is None:
        return False
    on = config.multicast
    wanted = {FAST_LEAVE: int(on and config.fast_leave), MAX_GROUPS: MOST_GROUPS if on else 0}
    try:
        held = kernel.port(link.index)
        differing = {name: value for name, value in wanted.items() if held.get(name, value) != value}
        if differing:
            kernel.set_port(link.index, differing)
    except NetlinkError as error:
        if is_absent(error.errno):
            return False
        raise
    return bool(differing)
