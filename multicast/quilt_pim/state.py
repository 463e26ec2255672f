"""What the control plane asks of the dataplane: a Protocol, so that each is tested without the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from quilt_pim.core.events import RouteType


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group with members: `members` are addresses or ports of this node, `nodes` other nodes."""

    group: str
    interface: str
    members: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteInfo:
    """A multicast route: `source` is None for (*,G); `origin` says who made it (`mesh`, `pim`)."""

    group: str
    source: str | None
    input_interface: str | None
    output_interfaces: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    route_type: RouteType = "SG"
    origin: str = "mesh"
    packets: int | None = None
    bytes: int | None = None


class MulticastState(Protocol):
    """The dataplane as the API shows it; each call is cheap and never waits."""

    def groups(self) -> Sequence[GroupInfo]:
        """Groups that have members here or elsewhere."""

    def routes(self) -> Sequence[RouteInfo]:
        """Routes that the mesh made."""

    def counters(self) -> Mapping[str, int]:
        """Counters by name."""


class NoState:
    """While multicast is off: nothing."""

    def groups(self) -> Sequence[GroupInfo]:
        """No groups."""
        return ()

    def routes(self) -> Sequence[RouteInfo]:
        """No routes."""
        return ()

    def counters(self) -> Mapping[str, int]:
        """No counters."""
        return {}
