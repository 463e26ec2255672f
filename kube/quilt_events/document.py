"""An Event of the mesh as it is sent: about a cluster-scoped object, so it is in the namespace `default`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from quilt_crds.names import API_VERSION, EVENT
from quilt_crds.times import rfc3339_micro

NAMESPACE: Final = "default"
NORMAL: Final = "Normal"
WARNING: Final = "Warning"
MOST_TEXT: Final = 1024
"""Characters of a note, more are refused by the API."""


@dataclass(frozen=True, slots=True)
class About:
    """The object that an Event is about."""

    kind: str
    name: str
    uid: str = ""
    api: str = API_VERSION


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: a controller, e.g. `quilt.io/agent`, and which of its processes."""

    controller: str
    instance: str


def document(name: str, about: About, type_: str, reason: str, note: str, writer: Writer) -> dict[str, Any]:
    """Return a new Event of now; `type_` is NORMAL or WARNING."""
    return EVENT.document(
        {"name": name, "namespace": NAMESPACE},
        eventTime=rfc3339_micro(datetime.now(UTC)),
        reportingController=writer.controller,
        reportingInstance=writer.instance[:128],
        action=reason,
        reason=reason,
        type=type_,
        note=note[:MOST_TEXT],
        regarding={"apiVersion": about.api, "kind": about.kind, "name": about.name, "uid": about.uid},
    )
