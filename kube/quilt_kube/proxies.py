"""Which proxy leads to an API server, as Go's programs read the environment (x/net/http/httpproxy)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit


def from_environment(server: str, environment: Mapping[str, str]) -> str:
    """Return the URL of the proxy for `server` (a URL), or nothing. Loopback addresses are never proxied."""
    url = urlsplit(server)
    name = f"{url.scheme}_proxy"
    proxy = environment.get(name.upper()) or environment.get(name) or ""
    excluded = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    if not proxy or _is_loopback(host) or any(_matches(part, host, port) for part in excluded.split(",")):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def authorization(proxy: str) -> dict[str, str]:
    """Return the headers by which the user named in a proxy's URL proves to be that user."""
    url = urlsplit(proxy)
    if not url.username:
        return {}
    pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _matches(part: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY is about a host: `*`, address, range, name or suffix; with a port."""
    entry = part.strip().lower()
    if not entry or entry == "*":
        return bool(entry)
    name, wanted = _split_port(entry)
    if wanted not in {"", str(port)}:
        return False
    try:
        address = ip_address(host)
    except ValueError:
        name = name.removeprefix("*")
        # `example.com` is itself and all below, `.example.com` all below alone.
        return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")
    try:
        return address in ip_network(name, strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    # More than one colon is an IPv6 address without a port.
    name, _, port = entry.partition(":") if entry.count(":") == 1 else (entry, "", "")
    return name, port
