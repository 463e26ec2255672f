"""Where the API server is and how to prove who we are.

Both kopf and our own client use plain aiohttp sessions made here. The official client would add some 50 MB
and half a second to a process that needs five verbs on four resources; kopf already brings aiohttp.

A service account's token is re-read as it is rotated, per request, so that no session ever outlives its
token. Kubeconfigs may use certificates or tokens; login plug-ins (`exec`) are not run.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import kopf
from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_LIFE = 60.0


class ConfigurationError(Exception):
    """There is no usable way to reach an API server; the text says what was looked for."""


@dataclass
class Connection:
    """An API server with credentials."""

    server: str
    ssl_context: ssl.SSLContext
    headers: dict[str, str] = field(default_factory=dict)
    token_path: Path | None = None
    _token: str = ""
    _token_read: float = -_TOKEN_LIFE

    def authorization(self) -> dict[str, str]:
        """Headers that authenticate a request sent now."""
        if self.token_path is None:
            return self.headers
        if time.monotonic() - self._token_read > _TOKEN_LIFE:
            self._token = self.token_path.read_text().strip()
            self._token_read = time.monotonic()
        return {"Authorization": f"Bearer {self._token}"}

    def session(
        self, middlewares: Sequence[ClientMiddlewareType] = (), limit: int = 32
    ) -> aiohttp.ClientSession:
        """A new session of at most `limit` connections (0: any number); the caller closes it."""

        async def authenticate(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
            request.headers.update(self.authorization())
            return await handler(request)

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.ssl_context, limit=limit),
            middlewares=(*middlewares, authenticate),
            headers={"User-Agent": "quilt-operator"},
        )


def connect(kubeconfig: str = "") -> Connection:
    """A connection from `kubeconfig` (a path; or $KUBECONFIG), else from the Pod's service account.

    Raises ConfigurationError when there is neither.
    """
    if not kubeconfig and not os.environ.get("KUBECONFIG") and (SERVICE_ACCOUNT / "token").exists():
        return _in_cluster()
    if kubeconfig:
        os.environ["KUBECONFIG"] = kubeconfig
    try:
        info = kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())
    except (OSError, KeyError, kopf.LoginError) as error:
        raise ConfigurationError(f"cannot use kubeconfig {os.environ['KUBECONFIG']}: {error!r}") from error
    if info is None:
        raise ConfigurationError("not in a Pod and no kubeconfig: pass --kubeconfig or set KUBECONFIG")
    return Connection(info.server.rstrip("/"), _lenient(info.as_ssl_context()), info.as_http_headers())


def _in_cluster() -> Connection:
    # The address, not kubernetes.default.svc: cluster DNS needs the very Pod network that we are to build.
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigurationError("KUBERNETES_SERVICE_HOST is not set although a service account is mounted")
    context = _lenient(ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt")))
    address = f"[{host}]" if ":" in host else host
    return Connection(f"https://{address}:{port}", context, token_path=SERVICE_ACCOUNT / "token")


def _lenient(context: ssl.SSLContext) -> ssl.SSLContext:
    # Python 3.13 refuses certificates without an authority key identifier, which many clusters' CAs lack.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
