"""Events about objects of the mesh, in one form: writers fill different fields for the same."""

from __future__ import annotations

from collections.abc import Iterable

from quilt_crds.names import API_VERSION
from quilt_crds.wire import Wire, WireObject

ABOUT_THE_MESH = {"fieldSelector": f"involvedObject.apiVersion={API_VERSION}"}
"""What asks the API server for Events about our kinds alone."""
# The newest that are shown.
_MOST = 500


class About(Wire, frozen=True):
    """What an Event is about."""

    kind: str = ""
    name: str = ""


class Series(Wire, frozen=True):
    """How often an Event was repeated."""

    count: int = 0
    last_observed_time: str = ""


class CoreEvent(WireObject, frozen=True):
    """An Event of core/v1; times in RFC 3339, each empty where its writer uses another."""

    involved_object: About = About()
    type: str = ""
    reason: str = ""
    message: str = ""
    count: int | None = None
    event_time: str | None = None
    last_timestamp: str | None = None
    series: Series | None = None


class Event(Wire, frozen=True, omit_defaults=True):
    """An Event as it is shown: `time` of the last repetition, `type` Normal or Warning."""

    uid: str
    time: str
    type: str
    reason: str
    about: str
    message: str
    count: int = 1


def newest(events: Iterable[CoreEvent]) -> list[Event]:
    """Return the newest of them, the newest first."""
    return sorted(map(_event, events), key=lambda item: (item.time, item.uid), reverse=True)[:_MOST]


def _event(item: CoreEvent) -> Event:
    series = item.series or Series()
    made = item.metadata.creation_timestamp
    times = (series.last_observed_time, item.last_timestamp, item.event_time, made)
    return Event(
        uid=item.metadata.uid or item.metadata.name,
        time=next((time for time in times if time), ""),
        type=item.type,
        reason=item.reason,
        about=f"{item.involved_object.kind} {item.involved_object.name}".strip(),
        message=item.message,
        count=max(series.count, item.count or 0, 1),
    )
