"""Requests to the API server: a verb, a path, decoded JSON back, failures as the two errors of `quilt_kube`.

The official client sends them; its models are left out. They would cost much time per object, know
nothing of our kinds, and lose fields that a newer server has. What its lowest layer does not do is done here:
it raises for no status, and waits five minutes unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec
from kubernetes.aio.client.exceptions import ApiException
from multidict import CIMultiDict

from quilt_kube.access import AccessError
from quilt_kube.connections import CONNECT
from quilt_kube.request import (
    APPLY_PATCH,
    JSON,
    MERGE_PATCH,
    METADATA_LIST,
    ApiError,
    UnreachableError,
    check,
    describe,
    document,
)
from quilt_operator import metrics
from quilt_operator.api.connection import USER_AGENT, Connection

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


class Client:
    """A thin client; one per process and event loop."""

    def __init__(self, connection: Connection, may_write: Callable[[], bool] = lambda: True) -> None:
        """Make one; while `may_write()` says no, every write is an UnreachableError and is not sent."""
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
        text = await self._ask("GET", path, timeout=_LONG, accept=METADATA_LIST)
        try:
            found = msgspec.json.decode(text, type=_MetadataList)
            versions = {item.metadata.name: int(item.metadata.version) for item in found.items or ()}
            return versions, int(found.metadata.version)
        except (msgspec.MsgspecError, ValueError) as error:
            raise UnreachableError(f"GET {path}: no list in the answer: {text[:80]!r}") from error

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
        self, verb: str, path: str, body: Mapping[str, Any], params: Mapping[str, str], kind: str = JSON
    ) -> dict[str, Any]:
        code = "unreachable"
        if not self._may_write():
            raise UnreachableError(
                f"{verb} {path} was not sent: this process does not hold the leader's Lease"
            )
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
        kind: str = JSON,
        timeout: aiohttp.ClientTimeout = _SHORT,  # noqa: ASYNC109 - aiohttp's own, per phase of a request
    ) -> dict[str, Any]:
        query = f"?{urlencode(params)}" if params else ""
        return document(await self._ask(verb, path + query, body=body, kind=kind, timeout=timeout))

    async def _ask(
        self,
        verb: str,
        target: str,
        *,
        body: Mapping[str, Any] | None = None,
        kind: str = JSON,
        accept: str = JSON,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own, per phase of a request
    ) -> bytes:
        access, url = self._connection.access, f"{self._connection.server}{target}"
        try:
            headers = CIMultiDict({"Accept": accept, "Content-Type": kind, "User-Agent": USER_AGENT})
            headers.extend(access.headers())
            response = await self._api.call_api(verb, url, headers, body, _request_timeout=timeout)
            text: bytes = await response.read()
        except (aiohttp.ClientError, ApiException, AccessError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{verb} {url}: {describe(error)}") from error
        if response.status == 401:
            access.credentials.refused()
        check(response.status, text, str(response.reason), response.headers.get("Retry-After", ""))
        return text


def _resource(path: str) -> str:
    parts = path.split("/")
    start = 4 if parts[1] == "apis" else 3
    if parts[start : start + 1] == ["namespaces"]:
        start += 2
    resource = parts[start] if len(parts) > start else "?"
    return f"{resource}/status" if parts[-1] == "status" else resource
