"""What subscribers receive: four kinds of change, flat on the wire, each with its time in Unix seconds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, get_args


class EventType(StrEnum):
    """What can be subscribed to."""

    IGMP_MEMBERSHIP = "IgmpMembership"
    PIM_NEIGHBOR = "PimNeighbor"
    PIM_ROUTE = "PimRoute"
    MSDP_SA_CACHE = "MsdpSaCache"


EVENT_TYPES = tuple(EventType)

RouteType = Literal["StarG", "SG"]
RouteAction = Literal["Add", "Remove", "Update"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a neighbor is known from: `PimHello`, or `External` with a tag."""

    external: bool
    tag: str = ""

    def wire(self) -> Any:
        """`"PimHello"`, or `{"External": {"tag": …}}`."""
        return {"External": {"tag": self.tag or None}} if self.external else "PimHello"


PIM_HELLO = Source(external=False)


@dataclass(frozen=True, slots=True)
class IgmpMembershipChange:
    """A host on `interface` joined or left `group`; `reporter` is its address where known."""

    interface: str
    group: str
    action: Literal["Join", "Leave"]
    reporter: str | None = None
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class PimNeighborChange:
    """A neighbor came, went, or (as another `Up`) is now known from another source."""

    interface: str
    neighbor: str
    action: Literal["Up", "Down"]
    source: Source
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class PimRouteChange:
    """A (*,G) or (S,G) entry was made, changed its interfaces, or went; `source` is None for StarG."""

    route_type: RouteType
    group: str
    source: str | None
    action: RouteAction
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class MsdpSaCacheChange:
    """A source was announced, announced again, or is announced no longer; `rp` originated the message."""

    source: str
    group: str
    rp: str
    action: Literal["Add", "Remove", "Refresh"]
    timestamp: int | None = None


Event = IgmpMembershipChange | PimNeighborChange | PimRouteChange | MsdpSaCacheChange

_TYPES = {kind: EventType(kind.__name__.removesuffix("Change")) for kind in get_args(Event)}


def event_type(event: Event) -> EventType:
    """Which subscription hears of it."""
    return _TYPES[type(event)]


def wire(event: Event) -> dict[str, Any]:
    """The notification as a flat JSON object."""
    document: dict[str, Any] = {"event": type(event).__name__}
    for name in event.__dataclass_fields__:
        value = getattr(event, name)
        document[name] = value.wire() if isinstance(value, Source) else value
    return document
