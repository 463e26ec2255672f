"""The CNI specification's documents (https://www.cni.dev/docs/spec/): what is received, what is sent, error
codes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from quilt_policy.program import PodName
from quilt_runtime.core.ipam import Owner, host_route
from quilt_runtime.core.pod import PodSpec, default_route

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
VERBS = frozenset({"ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"})

INCOMPATIBLE_VERSION = 1
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
DECODING_FAILURE = 6
INVALID_CONFIG = 7
TRY_AGAIN_LATER = 11
NOT_AVAILABLE = 50
LIMITED_CONNECTIVITY = 51
EXHAUSTED = 100
CHECK_FAILED = 101

NEEDS_IPV6 = "ipv6"

CONTAINER_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,255}")
INTERFACE = re.compile(r"[^\s/:]{1,15}")
NAMESPACE = re.compile(r"[a-z0-9-]{1,63}")
POD = re.compile(r"[a-z0-9.-]{1,253}")
UID = re.compile(r"[a-zA-Z0-9-]{0,64}")
ALIAS_MAX = 254
MAC = re.compile(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")

Document = dict[str, Any]


class CniError(Exception):
    """An answer of the specification's error shape."""

    def __init__(self, code: int, message: str, details: str = "", needs: str = "") -> None:
        """`needs`: what the plugin can do in the pod's namespace before it asks again (NEEDS_IPV6)."""
        super().__init__(message)
        self.code = code
        self.details = details
        self.needs = needs

    def document(self, version: str) -> Document:
        """Return the error as the specification spells it."""
        document: Document = {"cniVersion": version, "code": self.code, "msg": str(self)}
        return {**document, "details": self.details} if self.details else document


@dataclass(frozen=True, slots=True)
class Config:
    """A plugin configuration; `mtu` 0 means the node's, `addresses` are wishes, at most one of a family."""

    version: str
    name: str
    mtu: int = 0
    addresses: tuple[str, ...] = ()
    mac: str = ""
    dns: Document = field(default_factory=dict)
    prev_result: Document = field(default_factory=dict)
    attachments: frozenset[Owner] | None = None


def parse_config(text: str, environment: Mapping[str, str]) -> Config:
    """Return the configuration on stdin, with the wishes of CNI_ARGS and the runtime's capability arguments.

    Raises CniError with the specification's code.
    """
    document = decode("the network configuration", text)
    version = document.get("cniVersion", "0.3.1")
    if version not in VERSIONS:
        raise CniError(INCOMPATIBLE_VERSION, f"CNI version {version!r} is not one of {', '.join(VERSIONS)}")
    name = document.get("name")
    if not isinstance(name, str) or not name:
        raise CniError(INVALID_CONFIG, "the network configuration has no name")
    mtu = document.get("mtu", 0)
    if not isinstance(mtu, int) or isinstance(mtu, bool) or not (mtu == 0 or 576 <= mtu <= 65535):
        raise CniError(INVALID_CONFIG, f"mtu {mtu!r} must be between 576 and 65535, or 0 for the node's")
    addresses, mac = _wishes(document, environment)
    return Config(
        version=version,
        name=name,
        mtu=mtu,
        addresses=addresses,
        mac=mac,
        dns=_mapping(document, "dns"),
        prev_result=_mapping(document, "prevResult"),
        attachments=_attachments(document),
    )


def parse_owner(environment: Mapping[str, str]) -> Owner:
    """Return the container's interface that a verb is about; raises CniError(4) where the names are not
    valid.
    """
    container_id = environment.get("CNI_CONTAINERID", "")
    if not CONTAINER_ID.fullmatch(container_id):
        raise CniError(INVALID_ENVIRONMENT, f"CNI_CONTAINERID {container_id[:64]!r} is not a container id")
    name = environment.get("CNI_IFNAME", "")
    if not INTERFACE.fullmatch(name) or name in {".", ".."} or not name.isprintable():
        raise CniError(INVALID_ENVIRONMENT, f"CNI_IFNAME {name[:64]!r} is not an interface name")
    return Owner(container_id, name)


def pod_alias(environment: Mapping[str, str]) -> str:
    """Return `namespace/name` of the pod as Kubernetes says it in CNI_ARGS; empty where nobody does.

    Cut to what an interface's alias holds: a namespace always fits.
    """
    arguments = _arguments(environment)
    namespace, name = arguments.get("K8S_POD_NAMESPACE", ""), arguments.get("K8S_POD_NAME", "")
    text = f"{namespace}/{name}"
    return (
        text[:ALIAS_MAX] if NAMESPACE.fullmatch(namespace) and text.isascii() and text.isprintable() else ""
    )


def pod_name(environment: Mapping[str, str]) -> PodName | None:
    """Return the pod as Kubernetes names it in CNI_ARGS; None where nobody does, or in no valid form."""
    arguments = _arguments(environment)
    return _pod(*(arguments.get(f"K8S_POD_{part}", "") for part in ("NAMESPACE", "NAME", "UID")))


def pod_of_alias(alias: str) -> PodName | None:
    """Return the pod that an interface's alias names (see `pod_alias`), whose uid nobody knows."""
    namespace, _, name = alias.partition("/")
    return _pod(namespace, name, "")


def _pod(namespace: str, name: str, uid: str) -> PodName | None:
    valid = NAMESPACE.fullmatch(namespace) and POD.fullmatch(name) and UID.fullmatch(uid)
    return PodName(namespace, name, uid) if valid else None


def result(config: Config, spec: PodSpec, bridge: Document, sandbox: str, defaults: Set[int]) -> Document:
    """Return the result of ADD in the shape of the configuration's version.

    `defaults` are the families (4, 6) of which the interface has the pod's default route.
    """
    ips: list[Document] = [
        {"address": host_route(address), "gateway": str(gateway), "interface": 2}
        for address, gateway in spec.ways
    ]
    routes: list[Document] = [
        {"dst": default_route(gateway), "gw": str(gateway)}
        for _, gateway in spec.ways
        if gateway.version in defaults
    ]
    interfaces: list[Document] = [
        bridge,
        {"name": spec.host_interface, "mac": spec.host_mac},
        {"name": spec.interface, "mac": spec.mac, "sandbox": sandbox},
    ]
    if config.version.startswith("0."):
        for ip in ips:
            ip["version"] = "6" if ":" in ip["address"] else "4"
    if config.version == "1.1.0":
        for interface in interfaces:
            interface["mtu"] = spec.mtu
    return {
        "cniVersion": config.version,
        "interfaces": interfaces,
        "ips": ips,
        "routes": routes,
        "dns": config.dns,
    }


def previous_addresses(prev_result: Document) -> list[str]:
    """Return the addresses, without prefix length, that an earlier result gave; whatever is malformed is left
    out.
    """
    ips = prev_result.get("ips")
    found = (
        [entry.get("address") for entry in ips if isinstance(entry, dict)] if isinstance(ips, list) else []
    )
    return [address.partition("/")[0] for address in found if isinstance(address, str)]


def decode(what: str, text: str | bytes) -> Document:
    """Return the JSON object that `text` is; raises CniError(6), which names it `what`."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CniError(DECODING_FAILURE, f"{what} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise CniError(DECODING_FAILURE, f"{what} is not a JSON object")
    return document


def _mapping(document: Document, key: str) -> Document:
    value = document.get(key) or {}
    if not isinstance(value, dict):
        raise CniError(INVALID_CONFIG, f"{key} must be an object")
    return value


def _wishes(document: Document, environment: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    """Static addresses and MAC: capability arguments win over CNI_ARGS, which older runtimes use."""
    arguments = _arguments(environment)
    capabilities = _mapping(document, "runtimeConfig")
    ips = capabilities.get("ips") or ([arguments["IP"]] if arguments.get("IP") else [])
    mac = capabilities.get("mac") or arguments.get("MAC") or ""
    if (
        not isinstance(ips, list)
        or not all(isinstance(ip, str) for ip in ips)
        or len({":" in ip for ip in ips}) < len(ips)
    ):
        raise CniError(INVALID_CONFIG, f"ips {ips!r} must be a list of at most one address of each family")
    if not isinstance(mac, str) or (mac and (not MAC.fullmatch(mac) or int(mac[:2], 16) & 1)):
        raise CniError(INVALID_CONFIG, f"mac {mac!r} must be a unicast MAC address such as 0a:58:0a:2a:01:05")
    return tuple(ips), mac.lower()


def _arguments(environment: Mapping[str, str]) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in environment.get("CNI_ARGS", "").split(";"))
    return {key: value for key, _, value in pairs}


def _attachments(document: Document) -> frozenset[Owner] | None:
    """The attachments that GC shall keep, or None where the runtime did not say."""
    listed = document.get("cni.dev/valid-attachments")
    if listed is None:
        return None
    if not isinstance(listed, list) or not all(map(_is_attachment, listed)):
        # Not one may be misread: what is not listed is taken away.
        text = "cni.dev/valid-attachments must be a list of objects with a containerID and an ifname"
        raise CniError(INVALID_CONFIG, text)
    return frozenset(Owner(entry["containerID"], entry["ifname"]) for entry in listed)


def _is_attachment(entry: object) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(key), str) and entry[key] for key in ("containerID", "ifname")
    )
