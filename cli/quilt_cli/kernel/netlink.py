"""The kernel's network through pyroute2: what judges a dataplane shares no decoder with what wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pyroute2 import IPRoute, NetlinkDumpInterrupted, NetlinkError
from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, nlmsg

__all__ = ["IPRoute", "NetlinkError", "dump", "kind_of", "nexthops", "opened", "remove_nexthop"]

# include/uapi/linux/rtnetlink.h; pyroute2 knows no nexthop objects.
_RTM_NEWNEXTHOP, _RTM_DELNEXTHOP, _RTM_GETNEXTHOP = 104, 105, 106
_TRIES = 10


class _Nexthop(nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """A nexthop object, as far as it is read here (include/uapi/linux/nexthop.h)."""

    prefix = "NHA_"
    fields = (("family", "B"), ("scope", "B"), ("proto", "B"), ("resvd", "B"), ("flags", "I"))
    nla_map = (("NHA_UNSPEC", "none"), ("NHA_ID", "uint32"))


@contextmanager
def opened() -> Iterator[IPRoute]:
    """A connection to the kernel of this network namespace; what it refuses is raised as OSError."""
    try:
        with IPRoute(groups=0) as kernel:
            kernel.marshal.msg_map[_RTM_NEWNEXTHOP] = _Nexthop
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
    """All nexthop objects, with `proto` and `id`; None of a kernel that knows none (before 5.3)."""
    request = _Nexthop()
    request["header"].update(type=_RTM_GETNEXTHOP, flags=NLM_F_REQUEST | NLM_F_DUMP)
    try:
        return dump(lambda: kernel.nlm_request_batch([request]))
    except NetlinkError:
        return None


def remove_nexthop(kernel: IPRoute, number: int) -> None:
    """Remove the nexthop object of this id, and with it the routes that use it. Raises NetlinkError."""
    request = _Nexthop()
    request["attrs"] = [("NHA_ID", number)]
    request["header"].update(type=_RTM_DELNEXTHOP, flags=NLM_F_REQUEST | NLM_F_ACK)
    kernel.nlm_request_batch([request])
