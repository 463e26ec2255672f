"""The kernel's network through pyroute2: what judges a dataplane shares no decoder with what wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socket import AF_BRIDGE
from typing import Any

from pyroute2 import IPRoute, NetlinkDumpInterrupted, NetlinkError
from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST

from quilt_cli.kernel.messages import (
    RTM_DELNEXTHOP,
    RTM_GETMDB,
    RTM_GETNEXTHOP,
    RTM_NEWMDB,
    RTM_NEWNEXTHOP,
    RTM_NEWROUTE,
    Groups,
    Nexthop,
    Route,
)

__all__ = ["IPRoute", "NetlinkError", "dump", "groups", "kind_of", "nexthops", "opened", "remove_nexthop"]

_OURS = {
    RTM_NEWROUTE: Route,
    RTM_NEWNEXTHOP: Nexthop,
    # A bridge answers by the one, a VXLAN device by the other.
    RTM_GETMDB: Groups,
    RTM_NEWMDB: Groups,
}
_TRIES = 10


@contextmanager
def opened() -> Iterator[IPRoute]:
    """A connection to the kernel of this network namespace; what it refuses is raised as OSError."""
    try:
        with IPRoute(groups=0) as kernel:
            kernel.marshal.msg_map = {**kernel.marshal.msg_map, **_OURS}
            yield kernel
    except NetlinkError as error:
        raise OSError(*error.args) from error


def dump(ask: Callable[[], Iterable[Any]]) -> list[Any]:
    """A whole table; one that changed while it was read is read again."""
    for _ in range(_TRIES - 1):
        try:
            return list(ask())
        except NetlinkDumpInterrupted:
            continue
    return list(ask())


def kind_of(link: Any) -> str:
    """`vxlan`, `bridge`, `veth`, …; empty for hardware."""
    return link.get(("linkinfo", "kind")) or ""


def nexthops(kernel: IPRoute) -> list[Any] | None:
    """All nexthop objects, with `protocol` and `id`; None of a kernel that knows none (before 5.3)."""
    return _all(kernel, Nexthop(), RTM_GETNEXTHOP)


def groups(kernel: IPRoute) -> list[Any] | None:
    """The multicast groups of each bridge and VXLAN device; None of a kernel that tells none."""
    request = Groups()
    request["family"] = AF_BRIDGE
    return _all(kernel, request, RTM_GETMDB)


def _all(kernel: IPRoute, request: Any, kind: int) -> list[Any] | None:
    request["header"].update(type=kind, flags=NLM_F_REQUEST | NLM_F_DUMP)
    try:
        return dump(lambda: kernel.nlm_request_batch([request]))
    except NetlinkError:
        return None


def remove_nexthop(kernel: IPRoute, number: int) -> None:
    """Remove the nexthop object of this id, and with it the routes that use it. Raises NetlinkError."""
    request = Nexthop()
    request["attrs"] = [("NHA_ID", number)]
    request["header"].update(type=RTM_DELNEXTHOP, flags=NLM_F_REQUEST | NLM_F_ACK)
    kernel.nlm_request_batch([request])
