"""Typed kernel network state over netlink: batches, dumps, monitor."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quilt_netlink.errors import DumpInterruptedError, NetlinkError, ReplyLostError
from quilt_netlink.event_queue import MonitorLike
from quilt_netlink.events import Change, Event, Overrun
from quilt_netlink.interface import KernelLike
from quilt_netlink.kernel import Kernel
from quilt_netlink.monitor import ALL_GROUPS, Group, Monitor
from quilt_netlink.multicast import GroupFailure, MulticastKernel
from quilt_netlink.ops import Append, Create, Delete, Failure, Op, Put, is_absent, require
from quilt_netlink.rules import MulticastRoute, MulticastRule, SourceRule
from quilt_netlink.snooping import PLAIN, Snooping
from quilt_netlink.state import (
    ADDRGENMODE_NONE,
    DETACH,
    SCOPE_LINK,
    SCOPE_UNIVERSE,
    TABLE_MAIN,
    Address,
    BridgeFdbEntry,
    BridgeGroup,
    BridgePort,
    Entry,
    FdbEntry,
    GroupEntry,
    Link,
    Neighbour,
    Netconf,
    Nexthop,
    NftTable,
    Observed,
    Route,
    Unreachable,
    Vxlan,
    VxlanGroup,
)

if TYPE_CHECKING:
    from quilt_netlink.fake import FakeKernel, FakeMonitor, Fault

__all__ = [
    "ADDRGENMODE_NONE",
    "ALL_GROUPS",
    "DETACH",
    "PLAIN",
    "SCOPE_LINK",
    "SCOPE_UNIVERSE",
    "TABLE_MAIN",
    "Address",
    "Append",
    "BridgeFdbEntry",
    "BridgeGroup",
    "BridgePort",
    "Change",
    "Create",
    "Delete",
    "DumpInterruptedError",
    "Entry",
    "Event",
    "Failure",
    "FakeKernel",
    "FakeMonitor",
    "Fault",
    "FdbEntry",
    "Group",
    "GroupEntry",
    "GroupFailure",
    "Kernel",
    "KernelLike",
    "Link",
    "Monitor",
    "MonitorLike",
    "MulticastKernel",
    "MulticastRoute",
    "MulticastRule",
    "Neighbour",
    "Netconf",
    "NetlinkError",
    "Nexthop",
    "NftTable",
    "Observed",
    "Op",
    "Overrun",
    "Put",
    "ReplyLostError",
    "Route",
    "Snooping",
    "SourceRule",
    "Unreachable",
    "Vxlan",
    "VxlanGroup",
    "is_absent",
    "require",
]


def __getattr__(name: str) -> Any:
    """Import the fake kernel when it is first asked for: only tests do."""
    if name in {"FakeKernel", "FakeMonitor", "Fault"}:
        return getattr(import_module("quilt_netlink.fake"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
