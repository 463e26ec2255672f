"""A lean client of the Kubernetes API: bytes in, bytes out, errors translated once and here."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

import msgspec

from quilt_crds.connections import CONNECT, open_socket
from quilt_nodeagent.api.access import Access, without_public_authorities
from quilt_nodeagent.api.line_stream import AnswerError, LineStream, SilenceError, connect

with without_public_authorities():
    import aiohttp

# A TLS record is 16 KiB at most. asyncio would read by 256 KiB, which the C library maps for each event anew.
asyncio.sslproto.SSLProtocol.max_size = 64 << 10

JSON = "application/json"
APPLY = "application/apply-patch+yaml"


class ApiUnreachableError(Exception):
    """The API server could not be asked, or did not answer in time; asking again makes sense."""


class ApiSilentError(ApiUnreachableError):
    """A watch went without a word, be it that the API server hangs or that it has nothing to say."""


class ApiError(Exception):
    """The API server refused; `status` is its HTTP status, the text its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{message} (HTTP {status})")
        self.status = status


class _Status(msgspec.Struct):
    """The part of a Kubernetes Status object that people need."""

    message: str = ""
    code: int = 0


class ApiClient:
    """One API server. All paths are absolute (`/api/v1/…`); times in seconds.

    Every method raises ApiUnreachableError or ApiError and nothing else that the network can cause.
    """

    def __init__(self, access: Access, *, timeout: float = 10.0) -> None:
        self._access = access
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # The API server address is a Service or a name that may move: no DNS answer is kept for long.
        connector = aiohttp.TCPConnector(
            ssl=self._access.tls or True, limit=0, ttl_dns_cache=10, socket_factory=open_socket
        )
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False, auto_decompress=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Read an object."""
        return await self._request("GET", path, query=query)

    async def list(self, path: str, query: Mapping[str, str]) -> bytes:
        """Read a list; it may be megabytes over a slow line, so only a pause in it is a failure."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=self._timeout)
        return await self._request("GET", path, query=query, limits=timeout)

    async def post(self, path: str, body: Any) -> bytes:
        """Create an object; ApiError 409 when it exists."""
        return await self._request("POST", path, body=body)

    async def put(self, path: str, body: Any) -> bytes:
        """Replace an object; ApiError 409 when it is not as its resourceVersion says."""
        return await self._request("PUT", path, body=body)

    async def apply(self, path: str, body: Any, manager: str) -> bytes:
        """Server-side apply: `manager` owns exactly the fields in `body` afterwards."""
        query = {"fieldManager": manager, "force": "true"}
        return await self._request("PATCH", path, query=query, body=body, content=APPLY)

    async def follow(
        self, path: str, query: Mapping[str, str], silence: float, take: Callable[[Sequence[bytes]], None]
    ) -> None:
        """Hand the lines of a watch to `take` as they come, all of one read together; none when it begins.

        Returns when the server ends the watch; ApiSilentError after `silence` seconds without a byte.
        Raises whatever `take` raises.
        """
        server, tls = urlsplit(self._access.server), self._access.tls
        stream = LineStream(take)
        try:
            headers = {"Host": server.netloc, "Connection": "close", **self._headers()}
            lines = [f"GET {server.path}{path}?{urlencode(query)} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            async with asyncio.timeout(self._timeout):
                connection = await connect(server.hostname or "", server.port or (443 if tls else 80))
                transport, _ = await asyncio.get_running_loop().create_connection(
                    lambda: stream,
                    sock=connection,
                    ssl=tls,
                    server_hostname=server.hostname if tls else None,
                )
            try:
                transport.write("\r\n".join([*lines, "", ""]).encode())
                await stream.follow(silence)
            finally:
                transport.abort()
        except SilenceError as error:
            raise ApiSilentError(f"nothing came for {silence:g} s") from error
        except (TimeoutError, OSError, AnswerError) as error:
            raise ApiUnreachableError(_describe(error)) from error
        _check(stream.status, stream.refusal, "refused")

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content: str = JSON,
        limits: aiohttp.ClientTimeout | None = None,
    ) -> bytes:
        timeout = limits or aiohttp.ClientTimeout(total=self._timeout, sock_connect=CONNECT)
        try:
            async with self._open(method, path, query, body, content, timeout) as response:
                answer = bytes(await response.read())
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ApiUnreachableError(_describe(error)) from error
        _check(response.status, answer, response.reason)
        return answer

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        content: str,
        timeout: aiohttp.ClientTimeout,
    ) -> Any:
        if self._session is None:
            raise RuntimeError("use ApiClient as an async context manager")
        headers = self._headers()
        data = None if body is None else msgspec.json.encode(body)
        if data is not None:
            headers["Content-Type"] = content
        url = self._access.server + path
        return self._session.request(method, url, params=query, data=data, headers=headers, timeout=timeout)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": JSON, "User-Agent": "quilt-agent"}
        if token := self._access.bearer():
            headers["Authorization"] = f"Bearer {token}"
        return headers


def _check(status: int, body: bytes, reason: str | None) -> None:
    if status < 400:
        return
    try:
        message = msgspec.json.decode(body, type=_Status).message
    except msgspec.DecodeError:
        message = body[:200].decode(errors="replace")
    raise ApiError(status, message or reason or "refused")


def _describe(error: BaseException) -> str:
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
