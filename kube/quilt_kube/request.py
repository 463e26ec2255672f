"""Requests to the Kubernetes API and what their answers mean, without sending anything.

Paths are absolute (`/api/v1/…`). A sender writes `method`, `target`, the headers and `body`, and hands status
and bytes of the answer to `check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Accept only this, and a list has its objects' metadata alone."""

Json = dict[str, Any]


class UnreachableError(Exception):
    """The API server could not be asked, or did not answer in time; asking again makes sense."""


class SilentError(UnreachableError):
    """A watch brought nothing for too long: the API server hangs, or has nothing to send."""


class ApiError(Exception):
    """The API server refused; the text is its own message."""

    def __init__(self, status: int, message: str, reason: str = "", retry_after: float = 0.0) -> None:
        """`status` is HTTP's, `reason` the Status object's word for machines, `retry_after` in seconds."""
        super().__init__(f"{message} (HTTP {status})")
        self.status = status
        self.message = message
        self.reason = reason
        self.retry_after = retry_after

    @property
    def missing(self) -> bool:
        """The object (or its kind) does not exist."""
        return self.status == 404

    @property
    def exists(self) -> bool:
        """A create found the name taken."""
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def conflict(self) -> bool:
        """The object changed since it was read, or was replaced by another of its name."""
        return self.status == 409 and self.reason != "AlreadyExists"

    @property
    def outdated(self) -> bool:
        """The object is gone, or not as it was seen: its watch brings, or brought, what it is now."""
        return self.missing or self.conflict

    @property
    def refused(self) -> bool:
        """The object is not acceptable; sending it again will not help."""
        return self.status in {400, 403, 422}

    @property
    def passing(self) -> bool:
        """The server is overloaded, restarting or not yet sure of us: nothing is wrong with the request."""
        return self.status in {401, 403, 429, 500, 502, 503, 504}


class Status(msgspec.Struct):
    """What a refusal says (meta.k8s.io's Status), as an answer or in a watch."""

    code: int = 0
    message: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `content` is the media type of what it carries, `accept` that of the answer."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    document: Any = None
    """What it carries: plain JSON, or structs; None for nothing."""
    content: str = JSON
    accept: str = JSON

    @property
    def body(self) -> bytes | None:
        """What it carries, as it is sent."""
        return None if self.document is None else msgspec.json.encode(self.document)

    @property
    def target(self) -> str:
        """Path and query, as in a request line."""
        return f"{self.path}?{urlencode(self.query)}" if self.query else self.path

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that follow from what is asked."""
        accept = [("Accept", self.accept)]
        return accept if self.document is None else [*accept, ("Content-Type", self.content)]


def read(path: str, query: Mapping[str, str] | None = None, accept: str = JSON) -> Request:
    """Read an object or a list."""
    return Request("GET", path, query or {}, accept=accept)


def create(path: str, body: Any, manager: str = "") -> Request:
    """Create an object in the collection at `path`; ApiError.exists when the name is taken."""
    return Request("POST", path, _managed(manager), body)


def replace(path: str, body: Any, manager: str = "") -> Request:
    """Replace an object; a resourceVersion in its metadata is a precondition (ApiError.conflict)."""
    return Request("PUT", path, _managed(manager), body)


def patch(path: str, body: Any, manager: str = "", content: str = MERGE_PATCH) -> Request:
    """Patch an object; a resourceVersion or uid in the patch's metadata is a precondition."""
    return Request("PATCH", path, _managed(manager), body, content)


def apply(path: str, body: Any, manager: str) -> Request:
    """Server-side apply, forced: `manager` owns exactly the fields in `body` afterwards."""
    query = {"fieldManager": manager, "force": "true"}
    return Request("PATCH", path, query, body, APPLY_PATCH)


def delete(path: str, *, uid: str = "", version: str = "", propagation: str = "") -> Request:
    """Delete an object, if given exactly this state of it (ApiError.conflict when it is another by now)."""
    conditions = {"uid": uid, "resourceVersion": version}
    body: Json = {}
    if given := {name: value for name, value in conditions.items() if value}:
        body["preconditions"] = given
    query = {"propagationPolicy": propagation} if propagation else {}
    return Request("DELETE", path, query, body or None)


def check(status: int, body: bytes, reason: str = "", retry_after: str = "") -> None:
    """Raise ApiError unless `status` is a success; `reason` and `retry_after` are the answer's, if any."""
    if status < 400:
        return
    try:
        found = msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError:
        found = Status(message=body[:200].decode(errors="replace").strip())
    wait = float(retry_after) if retry_after.isdecimal() else 0.0
    raise ApiError(status, found.message or reason or "refused", found.reason or reason, wait)


def document(body: bytes) -> Json:
    """Return the JSON object of an answer; UnreachableError when it is not one: no API server sent it."""
    try:
        return msgspec.json.decode(body, type=Json)
    except msgspec.MsgspecError as error:
        raise not_kubernetes(body) from error


def not_kubernetes(body: bytes) -> UnreachableError:
    """Return the error for an answer that no API server sent."""
    return UnreachableError(f"the server answers, but not as Kubernetes does: {body[:80]!r}")


class _Meta(msgspec.Struct, rename={"resource_version": "resourceVersion", "more": "continue"}):
    resource_version: str = ""
    more: str = ""


class _List(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    items: list[msgspec.Raw] | None = None


class Page(NamedTuple):
    """A list, or a part of one: objects that are not decoded yet, resourceVersion, token of the next part."""

    items: list[msgspec.Raw]
    version: int
    more: str


_decode_list = msgspec.json.Decoder(_List).decode


def decode_page(body: bytes) -> Page:
    """Return what a list's answer holds. Raises UnreachableError when it is not a list."""
    try:
        found = _decode_list(body)
        return Page(found.items or [], int(found.metadata.resource_version), found.metadata.more)
    except (msgspec.MsgspecError, ValueError) as error:
        raise not_kubernetes(body) from error


def describe(error: BaseException) -> str:
    """Return in words why there was no answer."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _managed(manager: str) -> dict[str, str]:
    return {"fieldManager": manager} if manager else {}
