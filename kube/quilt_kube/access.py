"""How to reach the API server, found and read as kubectl does: the one reader for all components."""

from __future__ import annotations

import base64
import os
import re
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quilt_kube import proxies

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class AccessError(Exception):
    """The API server cannot be addressed; the text says what is missing and what to set."""


@dataclass
class Credentials:
    """What proves who asks: whatever is given of a file with a token (read each time), a token, a name and
    password. A `Plugin` is the other kind.
    """

    token_file: Path | None = None
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)

    def authorization(self) -> str:
        """Return the value of the Authorization header for a request sent now, or nothing."""
        token = self.token
        if self.token_file:
            try:
                # The kubelet replaces it before it expires.
                token = self.token_file.read_text().strip()
            except OSError:
                if not token:
                    raise
        if token:
            return f"Bearer {token}"
        if self.username:
            return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return ""

    def refused(self) -> None:
        """Take note that the API server did not accept it (HTTP 401)."""


@dataclass(frozen=True, slots=True)
class Access:
    """An API server: `server` is its URL, `context` the name people know it by, `proxy` a URL or nothing."""

    server: str
    context: str = ""
    tls: ssl.SSLContext | None = None
    proxy: str = field(default="", repr=False)
    credentials: Credentials = field(default_factory=Credentials)
    impersonation: tuple[tuple[str, str], ...] = ()
    """Headers by which somebody else is asked to be (a name may come several times)."""

    def headers(self) -> list[tuple[str, str]]:
        """Return the headers that say who asks, for a request sent now; a rotated token is read again.

        May run a credential plugin; raises AccessError and OSError.
        """
        found = self.credentials.authorization()
        return [*([("Authorization", found)] if found else []), *self.impersonation]


class Tls(ssl.SSLContext):
    """Trust as kubectl's: authorities without key identifiers or key usage count, which Python 3.13 refuses.

    Chains, names and times are verified all the same. `server_name`, if set, is asked for and verified in
    place of the server's own (`tls-server-name`), by every client.
    """

    server_name: str = ""

    def wrap_socket(self, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        """Wrap a socket."""
        return super().wrap_socket(*arguments, **self._named(named))

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """Wrap buffers, as asyncio does."""
        return super().wrap_bio(*arguments, **self._named(named))

    def _named(self, named: dict[str, Any]) -> dict[str, Any]:
        return {**named, "server_hostname": self.server_name} if self.server_name else named


def make_tls(authorities: bytes = b"", *, insecure: bool = False, server_name: str = "") -> Tls:
    """Make a context that trusts `authorities` (PEM; none: the system's). Raises ssl.SSLError, ValueError."""
    tls = Tls(ssl.PROTOCOL_TLS_CLIENT)
    # An authority need not be a root to be trusted.
    tls.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    tls.server_name = server_name
    if insecure:
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    elif authorities:
        tls.load_verify_locations(cadata=authorities.decode())
    else:
        tls.load_default_certs()
    return tls


def load_pair(tls: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Have `tls` present a client certificate, both in PEM; raises ssl.SSLError."""
    # The ssl module reads key pairs from files only.
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        tls.load_cert_chain(file.name)


def find(
    kubeconfig: str = "",
    context: str = "",
    environment: Mapping[str, str] = os.environ,
    account: Path = SERVICE_ACCOUNT,
) -> Access:
    """Find the API server as kubectl does: the flag, KUBECONFIG, ~/.kube/config, then the pod's account.

    A component that runs in a pod asks for `in_cluster` unless it was given a kubeconfig. Raises AccessError.
    """
    # Imported late: a pod does not pay for the parser of kubeconfigs.
    from quilt_kube.kubeconfig import from_kubeconfig

    if kubeconfig:
        return from_kubeconfig([Path(kubeconfig)], context, environment)
    default = Path(environment.get("HOME", "/root")) / ".kube" / "config"
    named = [Path(part) for part in environment.get("KUBECONFIG", "").split(os.pathsep) if part]
    if any(path.is_file() for path in named or [default]):
        return from_kubeconfig(named or [default], context, environment)
    if context:
        raise AccessError(f"there is no context {context!r}: no kubeconfig was found, and a pod has none")
    if named:
        raise AccessError(f"KUBECONFIG names {':'.join(map(str, named))}, which does not exist")
    if not environment.get("KUBERNETES_SERVICE_HOST") or not (account / "token").is_file():
        raise AccessError(
            f"no cluster to talk to: set KUBECONFIG or pass --kubeconfig ({default} does not exist, "
            "and this is not a pod with a service account)"
        )
    return in_cluster(environment, account)


def in_cluster(environment: Mapping[str, str] = os.environ, account: Path = SERVICE_ACCOUNT) -> Access:
    """Access by the pod's own service account; AccessError when this process does not run in a pod."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    token, authority = account / "token", account / "ca.crt"
    if not host:
        raise AccessError("KUBERNETES_SERVICE_HOST is not set: run in a pod, or pass --kubeconfig")
    if not token.is_file():
        raise AccessError(f"{token} does not exist: mount a service account token, or pass --kubeconfig")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    try:
        tls = make_tls(authority.read_bytes())
    except (OSError, ValueError) as error:
        raise AccessError(f"{authority} cannot be read: {error}") from error
    return Access(server, "in-cluster", tls, usable_proxy(server, environment), Credentials(token))


def usable_proxy(server: str, environment: Mapping[str, str], given: str = "") -> str:
    """Return the proxy for `server`, `given` or the environment's; AccessError for one that is not http://."""
    proxy = given or proxies.from_environment(server, environment)
    if proxy and urlsplit(proxy).scheme != "http":
        shown = re.sub("//.*@", "//", proxy)
        raise AccessError(f"the proxy {shown} cannot be used: only http:// proxies are supported")
    return proxy
