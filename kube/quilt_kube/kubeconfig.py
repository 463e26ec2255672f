"""Reading kubeconfig files as kubectl does: several are merged, the first that defines a name decides."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from quilt_kube.access import Access, AccessError, Credentials, load_pair, make_tls, usable_proxy
from quilt_kube.plugin import Plugin

_LISTS = ("clusters", "contexts", "users")
# What a credential plugin with `provideClusterInfo` gets to know about the cluster.
_CLUSTER_INFO = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url")
_PLUGIN_CONFIG = "client.authentication.k8s.io/exec"
# Characters of an HTTP field's name (RFC 9110, 5.6.2), beside letters and digits.
_TOKEN = "!#$&'*+-.^_`|~"  # noqa: S105

Section = Mapping[str, Any]


def from_kubeconfig(
    paths: Sequence[Path], context: str = "", environment: Mapping[str, str] = os.environ
) -> Access:
    """Access by `context`, or by the current one; AccessError when the files cannot be used."""
    named = os.pathsep.join(map(str, paths))
    try:
        config = _merge([(path, yaml.safe_load(path.read_text())) for path in paths if path.exists()])
        chosen = context or config["current-context"]
        if not chosen:
            raise ValueError("it has no current context; name one with --context")
        entry = _named(config, "contexts", chosen)["context"]
        cluster = _named(config, "clusters", entry["cluster"])
        user = _named(config, "users", entry["user"]) if entry.get("user") else {"user": {}, "folder": Path()}
        return _access(cluster, user, chosen, environment)
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError, ssl.SSLError, AccessError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise AccessError(f"kubeconfig {named} cannot be used: {what}") from error


def _merge(files: Sequence[tuple[Path, Any]]) -> dict[str, Any]:
    if not files:
        raise ValueError("no such file")
    merged: dict[str, Any] = {name: {} for name in _LISTS} | {"current-context": ""}
    for path, content in files:
        if content is None:
            continue
        if not isinstance(content, dict):
            raise TypeError(f"{path} is not a kubeconfig")
        merged["current-context"] = merged["current-context"] or content.get("current-context", "")
        for name in _LISTS:
            for entry in content.get(name) or []:
                # Files named inside are relative to the file that names them.
                merged[name].setdefault(entry["name"], {**entry, "folder": path.parent})
    return merged


def _named(config: Section, kind: str, name: str) -> dict[str, Any]:
    entry = config[kind].get(name)
    if entry is None:
        known = ", ".join(sorted(config[kind])) or "none"
        raise ValueError(f"it names {name!r}, which is not among its {kind} ({known})")
    found: dict[str, Any] = entry
    return found


def _access(cluster: Section, user: Section, context: str, environment: Mapping[str, str]) -> Access:
    section, folder = cluster["cluster"], cluster["folder"]
    server = _server(section)
    credentials = dict(user["user"] or {})
    tls = None
    authority = _material(section, "certificate-authority", folder)
    if server.startswith("https://"):
        tls = make_tls(
            authority,
            insecure=bool(section.get("insecure-skip-tls-verify")),
            server_name=str(section.get("tls-server-name") or ""),
        )
        pair = [_material(credentials, name, user["folder"]) for name in ("client-certificate", "client-key")]
        if all(pair):
            load_pair(tls, *pair)
    proxy = usable_proxy(server, environment, str(section.get("proxy-url") or ""))
    proof = _credentials(credentials, user["folder"])
    if credentials.get("exec") and not proof.authorization():
        info = {name: section[name] for name in _CLUSTER_INFO if section.get(name)}
        info |= {"certificate-authority-data": base64.b64encode(authority).decode()} if authority else {}
        proof = Plugin(credentials["exec"], user["folder"], info | _plugin_config(section), tls, environment)
        # A certificate is needed before the first connection, and what is wrong is reported at once.
        proof.authorization()
    return Access(server, context, tls, proxy, proof, tuple(_impersonation(credentials)))


def _server(cluster: Section) -> str:
    server = str(cluster["server"])
    if "://" not in server:
        secured = any(cluster.get(f"certificate-authority{end}") for end in ("", "-data"))
        server = f"http{'s' if secured or cluster.get('insecure-skip-tls-verify') else ''}://{server}"
    if not urlsplit(server).hostname:
        raise ValueError(f"its server {server} names no host")
    return server.rstrip("/")


def _credentials(user: Section, folder: Path) -> Credentials:
    if user.get("auth-provider") and not (user.get("token") or user.get("tokenFile")):
        raise ValueError("its user has an auth-provider, which is not supported: use an exec plugin")
    file = user.get("tokenFile")
    return Credentials(
        folder / file if file else None,
        str(user.get("token") or ""),
        str(user.get("username") or ""),
        str(user.get("password") or ""),
    )


def _impersonation(user: Section) -> list[tuple[str, str]]:
    """Headers for `as` and what belongs to it (Kubernetes' documentation, "User impersonation")."""
    name = str(user.get("as") or "")
    rest = [("Impersonate-Uid", str(user["as-uid"]))] if user.get("as-uid") else []
    rest += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or []]
    for key, values in (user.get("as-user-extra") or {}).items():
        rest += [(f"Impersonate-Extra-{quote(str(key), safe=_TOKEN)}", str(value)) for value in values]
    if rest and not name:
        raise ValueError("it asks to be of a group, uid or extra of somebody else (as-…) without `as`")
    return [("Impersonate-User", name), *rest] if name else []


def _plugin_config(cluster: Section) -> dict[str, Any]:
    for item in cluster.get("extensions") or []:
        if item.get("name") == _PLUGIN_CONFIG:
            return {"config": item["extension"]}
    return {}


def _material(section: Section, name: str, folder: Path) -> bytes:
    if data := section.get(f"{name}-data"):
        return base64.b64decode(data)
    return (folder / section[name]).read_bytes() if section.get(name) else b""
