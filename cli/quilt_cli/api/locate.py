"""Which API server a command talks to, found in the order that kubectl uses."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from quilt_cli.api.access import Access, AccessError
from quilt_cli.api.kubeconfig import from_kubeconfig
from quilt_crds.connections import trust_as_kubectl

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def find(
    kubeconfig: str | None,
    context: str | None,
    environment: Mapping[str, str] = os.environ,
    folder: Path = _SERVICE_ACCOUNT,
) -> Access:
    """Access as kubectl would find it: the flag, KUBECONFIG, the pod's account, then ~/.kube/config."""
    named = kubeconfig or environment.get("KUBECONFIG") or ""
    if named:
        return from_kubeconfig([Path(part) for part in named.split(":") if part], context or "")
    if environment.get("KUBERNETES_SERVICE_HOST") and (folder / "token").is_file():
        return _in_cluster(environment, folder)
    default = Path(environment.get("HOME", "/root")) / ".kube" / "config"
    if not default.is_file():
        raise AccessError(
            f"no cluster to talk to: set KUBECONFIG or pass --kubeconfig ({default} does not exist, "
            "and this is no pod with a service account)"
        )
    return from_kubeconfig([default], context or "")


def _in_cluster(environment: Mapping[str, str], folder: Path) -> Access:
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
    name = f"[{host}]" if ":" in host else host
    try:
        tls = trust_as_kubectl(ssl.create_default_context(cafile=str(folder / "ca.crt")))
    except OSError as error:
        raise AccessError(f"{folder / 'ca.crt'} cannot be read: {error}") from error
    return Access(f"https://{name}:{port}", "in-cluster", tls, folder / "token")
