"""Requests to the API server: a verb, a path, decoded JSON back, failures as two exceptions.

The official client sends them; its models are left out. They would cost much time per object, know
nothing of our kinds, and lose fields that a newer server has. What its lowest layer does not do is done here:
it raises for no status, and waits five minutes unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.client.rest import RESTResponse

from quilt_crds.connections import CONNECT
from quilt_operator import metrics
from quilt_operator.api.connection import USER_AGENT, Connection

MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_SHORT = aiohttp.ClientTimeout(total=10, sock_connect=CONNECT)
# A server that hangs is noticed by a pause, however long a list may take.
_LONG = aiohttp.ClientTimeout(total=120, sock_connect=CONNECT, sock_read=20)


class _Meta(msgspec.Struct, rename={"version": "resourceVersion"}):
    name: str = ""
    version: str = ""


class _Metadata(msgspec.Struct):
    metadata: _Meta


class _MetadataList(msgspec.Struct):
    metadata: _Meta
    items: list[_Metadata] | None = None


class ApiError(Exception):
    """The API server refused a request; the text is its own message."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{message} ({status} {reason})")
        self.status = status
        self.reason = reason
        self.message = message
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
    def refused(self) -> bool:
        """The object is not acceptable; sending it again will not help."""
        return self.status in {400, 403, 422}


class Unreachable(Exception):  # noqa: N818 - reads as what it says where it is caught
    """The API server did not answer, or not in time."""


class Client:
    """A thin client; one per process and event loop."""

    def __init__(self, connection: Connection, may_write: Callable[[], bool] = lambda: True) -> None:
        """Make one; while `may_write()` says no, every write is Unreachable and is not sent."""
        self._server = connection.server
        self._connection = connection
        self._api = connection.api
        self._may_write = may_write

    def fenced(self, may_write: Callable[[], bool]) -> Client:
        """A client of the same connection that writes only while `may_write()` says so."""
        return Client(self._connection, may_write)

    async def close(self) -> None:
        """Close all connections."""
        await self._connection.close()

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The object (or list) at `path`."""
        return await self._send("GET", path, params=params)

    async def list(self, path: str) -> tuple[list[dict[str, Any]], int]:
        """All objects of a collection and the resourceVersion of the list."""
        answer = await self._send("GET", path, timeout=_LONG)
        return answer.get("items") or [], int(answer["metadata"]["resourceVersion"])

    async def versions(self, path: str) -> tuple[dict[str, int], int]:
        """The resourceVersions of all objects of a collection by name, and that of the list."""
        text = await self._ask("GET", path, timeout=_LONG, accept=_METADATA)
        try:
            found = msgspec.json.decode(text, type=_MetadataList)
            versions = {item.metadata.name: int(item.metadata.version) for item in found.items or ()}
            return versions, int(found.metadata.version)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Unreachable(f"GET {self._server}{path}: no list in the answer: {text[:80]!r}") from error

    async def create(self, path: str, body: Mapping[str, Any], manager: str) -> dict[str, Any]:
        """POST `body`; ApiError.exists when the name is taken."""
        return await self._write("POST", path, body, {"fieldManager": manager})

    async def put(self, path: str, body: Mapping[str, Any], manager: str) -> dict[str, Any]:
        """Replace an object; a resourceVersion in its metadata is a precondition."""
        return await self._write("PUT", path, body, {"fieldManager": manager})

    async def patch(
        self, path: str, body: Mapping[str, Any], manager: str, kind: str = MERGE_PATCH
    ) -> dict[str, Any]:
        """Patch an object; a resourceVersion in the patch's metadata is a precondition."""
        return await self._write("PATCH", path, body, {"fieldManager": manager}, kind)

    async def apply(self, path: str, body: Mapping[str, Any], manager: str) -> dict[str, Any]:
        """Server-side apply, forced: fields of `manager` that `body` leaves out are removed."""
        params = {"fieldManager": manager, "force": "true"}
        return await self._write("PATCH", path, body, params, APPLY_PATCH)

    async def delete(self, path: str, *, uid: str, version: int) -> None:
        """Delete exactly this state of this object; ApiError.conflict when it is another by now."""
        body = {"preconditions": {"uid": uid, "resourceVersion": str(version)}}
        await self._write("DELETE", path, body, {})

    async def _write(
        self, verb: str, path: str, body: Mapping[str, Any], params: Mapping[str, str], kind: str = ""
    ) -> dict[str, Any]:
        code = "unreachable"
        if not self._may_write():
            raise Unreachable(f"{verb} {path} was not sent: this process does not hold the leader's Lease")
        try:
            answer = await self._send(verb, path, body=body, params=params, kind=kind)
            code = "ok"
            return answer
        except ApiError as error:
            code = str(error.status)
            raise
        finally:
            metrics.API_WRITES.labels(verb.lower(), _resource(path), code).inc()

    async def _send(
        self,
        verb: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        kind: str = "",
        timeout: aiohttp.ClientTimeout = _SHORT,  # noqa: ASYNC109 - aiohttp's own, per phase of a request
    ) -> dict[str, Any]:
        query = f"?{urlencode(params)}" if params else ""
        text = await self._ask(verb, path + query, body=body, kind=kind, timeout=timeout)
        answer = _decode(text)
        if answer is None:
            raise Unreachable(f"{verb} {self._server}{path}: no JSON object in the answer: {text[:80]!r}")
        return answer

    async def _ask(
        self,
        verb: str,
        target: str,
        *,
        body: Mapping[str, Any] | None = None,
        kind: str = "",
        accept: str = "application/json",
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own, per phase of a request
    ) -> bytes:
        try:
            headers = {"Accept": accept, "Content-Type": kind or "application/json"}
            headers |= {"User-Agent": USER_AGENT, **await self._connection.authorization()}
            response = await self._api.call_api(
                verb, f"{self._server}{target}", headers, body, _request_timeout=timeout
            )
            text: bytes = await response.read()
        except (aiohttp.ClientError, ApiException, TimeoutError, OSError) as error:
            what = str(error) or type(error).__name__
            raise Unreachable(f"{verb} {self._server}{target}: {what}") from error
        if response.status >= 400:
            raise _error(response, text)
        return text


def _decode(text: bytes) -> dict[str, Any] | None:
    try:
        answer = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return answer if isinstance(answer, dict) else None


def _error(response: RESTResponse, text: bytes) -> ApiError:
    answer = _decode(text) or {}
    message = answer.get("message") or text[:200].decode(errors="replace") or str(response.reason)
    wait = response.headers.get("Retry-After", "")
    return ApiError(
        response.status,
        answer.get("reason") or str(response.reason),
        message,
        float(wait) if wait.isdecimal() else 0.0,
    )


def _resource(path: str) -> str:
    parts = path.split("/")
    start = 4 if parts[1] == "apis" else 3
    if parts[start : start + 1] == ["namespaces"]:
        start += 2
    resource = parts[start] if len(parts) > start else "?"
    return f"{resource}/status" if parts[-1] == "status" else resource
