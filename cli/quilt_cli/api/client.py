"""A small client of the Kubernetes API on the standard library: a command makes a dozen requests and ends.

Proxies are taken from the environment, as kubectl does.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from quilt_cli.api.access import Access

Json = dict[str, Any]


class ApiUnreachableError(Exception):
    """The API server could not be asked, or did not answer in time."""


class ApiError(Exception):
    """The API server refused; `status` is its HTTP status, the text its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} (HTTP {status})")
        self.status = status


class ApiClient:
    """One API server. Paths are absolute (`/api/v1/…`), times are seconds; safe to share between threads.

    Every method raises ApiUnreachableError or ApiError and nothing else that the network can cause.
    """

    def __init__(self, access: Access, timeout: float = 15.0) -> None:
        self.access = access
        self._timeout = timeout
        handlers = [urllib.request.HTTPSHandler(context=access.tls)] if access.tls else []
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """Read an object or a list."""
        return self._json(self._request("GET", path, query))

    def text(self, path: str, query: Mapping[str, str] | None = None) -> str:
        """Read something that is not JSON, such as a log."""
        return self._request("GET", path, query).decode(errors="replace")

    def items(self, path: str, query: Mapping[str, str] | None = None) -> list[Json]:
        """Read a list's objects."""
        found: list[Json] = self.get(path, query).get("items") or []
        return found

    def create(self, path: str, body: Json) -> Json:
        """Create an object in the collection at `path`; ApiError 409 when it exists."""
        return self._json(self._request("POST", path, body=body))

    def delete(self, path: str) -> None:
        """Delete an object; one that is not there is fine."""
        try:
            self._request("DELETE", path, {"propagationPolicy": "Background"})
        except ApiError as error:
            if error.status != 404:
                raise

    def _request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Json | None = None
    ) -> bytes:
        url = self.access.server + path + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json, */*", "User-Agent": "quilt"}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        try:
            if token := self.access.bearer():
                headers["Authorization"] = f"Bearer {token}"
            request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  # the kubeconfig's
            with self._opener.open(request, timeout=self._timeout) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, _message(error)) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise ApiUnreachableError(f"{self.access.server} does not answer: {reason}") from error

    def _json(self, content: bytes) -> Json:
        try:
            decoded = json.loads(content)
        except ValueError as error:
            raise ApiUnreachableError(f"{self.access.server} answers, but not as Kubernetes does") from error
        return decoded if isinstance(decoded, dict) else {}


def _message(error: urllib.error.HTTPError) -> str:
    content = error.read()
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content[:200].decode(errors="replace").strip() or str(error.reason)
