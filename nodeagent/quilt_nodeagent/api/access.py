"""How to reach the API server: the pod's service account, or a kubeconfig on a developer's machine."""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quilt_crds.connections import trust_as_kubectl

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@contextmanager
def without_public_authorities() -> Iterator[None]:
    """While this lasts, a new TLS context trusts nobody yet.

    aiohttp reads the system's whole list of authorities when it is imported, 40 ms of every start; the agent
    trusts the cluster's own.
    """
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = os.devnull
    try:
        yield
    finally:
        del os.environ["SSL_CERT_FILE"]
        if before is not None:
            os.environ["SSL_CERT_FILE"] = before


class AccessError(Exception):
    """The API server cannot be addressed; the text says what is missing and what to set."""


@dataclass(frozen=True, slots=True)
class Access:
    """An API server: `server` is its URL, the bearer token stands in `token_file` (re-read) or in `token`."""

    server: str
    tls: ssl.SSLContext | None = None
    token_file: Path | None = None
    token: str = field(default="", repr=False)

    def bearer(self) -> str:
        """Return the token to send now, or nothing; the kubelet replaces the file before it expires."""
        return self.token_file.read_text().strip() if self.token_file else self.token


def in_cluster(environment: Mapping[str, str], folder: Path = _SERVICE_ACCOUNT) -> Access:
    """Access by the pod's own service account; AccessError when this process does not run in a pod."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT", "443")
    token, authority = folder / "token", folder / "ca.crt"
    if not host:
        raise AccessError("KUBERNETES_SERVICE_HOST is not set: run in a pod, or pass --kubeconfig")
    if not token.is_file():
        raise AccessError(f"{token} does not exist: mount a service account token, or pass --kubeconfig")
    name = f"[{host}]" if ":" in host else host
    tls = trust_as_kubectl(ssl.create_default_context(cafile=authority))
    return Access(f"https://{name}:{port}", tls, token)


def from_kubeconfig(path: Path) -> Access:
    """Access by the current context of a kubeconfig; AccessError when the file cannot be used."""
    import yaml  # Only a developer's machine has a kubeconfig; a pod does not pay for the parser.

    try:
        config = yaml.safe_load(path.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        return _access(cluster, user, path.parent)
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise AccessError(f"kubeconfig {path} cannot be used: {error}") from error


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise ValueError(f"it names {name!r}, which it does not define")


def _access(cluster: dict[str, Any], user: dict[str, Any], folder: Path) -> Access:
    server = str(cluster["server"])
    if not server.startswith("https://"):
        return Access(server, token=str(user.get("token", "")))
    tls = trust_as_kubectl(ssl.create_default_context())
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    elif authority := _material(cluster, "certificate-authority", folder):
        tls.load_verify_locations(cadata=authority.decode())
    certificate, key = (_material(user, name, folder) for name in ("client-certificate", "client-key"))
    if certificate and key:
        # The ssl module reads key pairs from files only.
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            tls.load_cert_chain(file.name)
    token_file = user.get("tokenFile")
    return Access(server, tls, folder / token_file if token_file else None, str(user.get("token", "")))


def _material(section: dict[str, Any], name: str, folder: Path) -> bytes:
    if data := section.get(f"{name}-data"):
        return base64.b64decode(data)
    return (folder / section[name]).read_bytes() if section.get(name) else b""
