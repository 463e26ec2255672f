"""Reading kubeconfig files: several may be named in KUBECONFIG, the first that defines a name wins."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quilt_cli.api.access import Access, AccessError
from quilt_crds.connections import trust_as_kubectl

_LISTS = ("clusters", "contexts", "users")


def from_kubeconfig(paths: Sequence[Path], context: str = "") -> Access:
    """Access by `context`, or by the current one; AccessError when the files cannot be used."""
    import yaml

    named = ":".join(map(str, paths))
    try:
        config = _merge([(path, yaml.safe_load(path.read_text())) for path in paths if path.exists()])
        chosen = context or config["current-context"]
        if not chosen:
            raise ValueError("it has no current context; name one with --context")
        entry = _named(config, "contexts", chosen)["context"]
        cluster = _named(config, "clusters", entry["cluster"])
        user = _named(config, "users", entry["user"]) if entry.get("user") else {"user": {}, "folder": Path()}
        return _access(cluster, user, chosen)
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError, ssl.SSLError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise AccessError(f"kubeconfig {named} cannot be used: {what}") from error


def _merge(files: Sequence[tuple[Path, Any]]) -> dict[str, Any]:
    if not files:
        raise ValueError("no such file")
    merged: dict[str, Any] = {name: {} for name in _LISTS} | {"current-context": ""}
    for path, content in files:
        if not isinstance(content, dict):
            raise TypeError(f"{path} is no kubeconfig")
        merged["current-context"] = merged["current-context"] or content.get("current-context", "")
        for name in _LISTS:
            for entry in content.get(name) or []:
                # Files named inside are relative to the file that names them.
                merged[name].setdefault(entry["name"], {**entry, "folder": path.parent})
    return merged


def _named(config: Mapping[str, Any], kind: str, name: str) -> dict[str, Any]:
    entry = config[kind].get(name)
    if entry is None:
        known = ", ".join(sorted(config[kind])) or "none"
        raise ValueError(f"it names {name!r}, which is not among its {kind} ({known})")
    found: dict[str, Any] = entry
    return found


def _access(cluster: Mapping[str, Any], user: Mapping[str, Any], context: str) -> Access:
    server = str(cluster["cluster"]["server"]).rstrip("/")
    credentials = dict(user["user"] or {})
    if plugin := credentials.get("exec"):
        credentials |= _run_plugin(plugin)
    tls = None
    if server.startswith("https://"):
        tls = _tls(cluster["cluster"], cluster["folder"], credentials, user["folder"])
    token_file = credentials.get("tokenFile")
    return Access(
        server,
        context,
        tls,
        user["folder"] / token_file if token_file else None,
        str(credentials.get("token") or ""),
    )


def _tls(
    cluster: Mapping[str, Any], folder: Path, user: Mapping[str, Any], user_folder: Path
) -> ssl.SSLContext:
    tls = trust_as_kubectl(ssl.create_default_context())
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    elif authority := _material(cluster, "certificate-authority", folder):
        tls.load_verify_locations(cadata=authority.decode())
    certificate, key = (_material(user, name, user_folder) for name in ("client-certificate", "client-key"))
    if certificate and key:
        # The ssl module reads key pairs from files only.
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            tls.load_cert_chain(file.name)
    return tls


def _material(section: Mapping[str, Any], name: str, folder: Path) -> bytes:
    if data := section.get(f"{name}-data"):
        return base64.b64decode(data)
    return (folder / section[name]).read_bytes() if section.get(name) else b""


def _run_plugin(plugin: Mapping[str, Any]) -> dict[str, Any]:
    """Credentials from the program that the kubeconfig names (client.authentication.k8s.io)."""
    command = [plugin["command"], *(plugin.get("args") or [])]
    extra = {item["name"]: item["value"] for item in plugin.get("env") or []}
    info = {"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "spec": {"interactive": False}}
    environment = os.environ | extra | {"KUBERNETES_EXEC_INFO": json.dumps(info)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", b"") or b""
        raise ValueError(f"its credential plugin failed: {error}; {said.decode().strip()}") from error
    status = json.loads(done.stdout)["status"]
    found = {"token": status.get("token")}
    for ours, theirs in (
        ("client-certificate-data", "clientCertificateData"),
        ("client-key-data", "clientKeyData"),
    ):
        if status.get(theirs):
            # A kubeconfig holds these in base64, an ExecCredential as they are.
            found[ours] = base64.b64encode(status[theirs].encode()).decode()
    return found
