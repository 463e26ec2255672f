"""What the node's pod network depends on: flags give the defaults, the agent's Configure the truth."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Self

from quilt_crds.names import DEFAULT_CLUSTER_CIDRS, DEFAULT_VNI, IPV6_MTU, VXLAN_DEVICE, VXLAN_PORT
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.requests import cluster_cidrs as parse_cidrs
from quilt_runtime.core.routes import all_canonical4, interface_name

DEFAULT_MTU = 1450  # an Ethernet underlay of 1500 less VXLAN over IPv4
MTU_RANGE = range(576, 65536)
PREFIX_LENGTHS = range(1, 33)  # whatever kube-controller-manager cuts; core.requests tells which have room
VNIS = range(1, 1 << 24)
# Stored apart: a release that does not know them must be able to read the rest after a roll-back.
SINCE_FIRST = ("spoof_guard", "vni", "masquerade", "policies", "log_denied")


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """`mtu` in bytes of pods and bridge; `overlay_sources` are the peers' host addresses."""

    cluster_cidrs: tuple[str, ...] = DEFAULT_CLUSTER_CIDRS
    mtu: int = DEFAULT_MTU
    vxlan_interface: str = VXLAN_DEVICE
    vxlan_port: int = VXLAN_PORT
    overlay_sources: frozenset[str] = frozenset()
    prefix_length: int = 24
    multicast: bool = False
    fast_leave: bool = True
    spoof_guard: bool = True
    vni: int = DEFAULT_VNI
    masquerade: bool = True
    policies: bool = False
    log_denied: bool = False

    @property
    def cluster_cidrs_v4(self) -> list[IPv4Network]:
        """The IPv4 ones of the cluster's CIDRs."""
        return [IPv4Network(cidr) for cidr in self.cluster_cidrs if ":" not in cidr]

    @property
    def cluster_cidrs_v6(self) -> list[IPv6Network]:
        """The IPv6 ones of the cluster's CIDRs."""
        return [IPv6Network(cidr) for cidr in self.cluster_cidrs if ":" in cidr]

    @property
    def lacks_ipv6(self) -> str:
        """Why this node can have no IPv6, where it should have; empty when it can."""
        if self.mtu >= IPV6_MTU or not self.cluster_cidrs_v6:
            return ""
        return (
            f"MTU {self.mtu} is too small for IPv6, which needs {IPV6_MTU}: raise the underlay's by "
            f"{IPV6_MTU - self.mtu}, or remove clusterCIDRsV6 from the QuiltNetwork"
        )

    def merged(self, **asked: Any) -> tuple[Self, list[str]]:
        """Return the configuration that a request asks for, by fields, and why some of it cannot be.

        What the request leaves empty or zero stays as it is, and so does what cannot be used: peers are taken
        in whatever is wrong with the rest. The overlay sources are always the request's.
        """
        found: dict[str, Any] = {}
        refused: list[str] = []
        readers = {**_READERS, "overlay_sources": self._sources}
        for name, value in asked.items():
            try:
                found[name] = readers[name](value)
            except RequestError as error:
                refused.append(str(error))
        changes = {name: value for name, value in found.items() if value or name == "overlay_sources"}
        return replace(self, **changes), refused

    def with_sources(self, add: Iterable[str], remove: Iterable[str]) -> Self:
        """Return the configuration with some overlay sources more and others less; raises RequestError."""
        left = self.overlay_sources - self._sources(remove)
        return replace(self, overlay_sources=left | self._sources(add))

    def _sources(self, texts: Iterable[str]) -> frozenset[str]:
        """Check addresses; thousands come at the start, and again with each new one."""
        wanted = frozenset(texts)
        unknown = wanted - self.overlay_sources
        if all_canonical4(list(unknown)):
            return wanted
        return wanted - unknown | frozenset(map(_host_address, unknown))

    def but_sources(self, other: Self) -> bool:
        """Whether the two differ in nothing but the overlay's sources."""
        return replace(self, overlay_sources=other.overlay_sources) == other

    def documents(self) -> dict[str, dict[str, Any]]:
        """Return the JSON forms that the state keeps, by its keys."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        later = {name: held.pop(name) for name in SINCE_FIRST}
        return {"config": {**held, "overlay_sources": list(self.overlay_sources)}, "config_later": later}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read the JSON form that the state keeps, also where an older or a newer release wrote it.

        What it lacks is as by default, and so is what this release does not know or cannot use.
        """
        found: dict[str, Any] = {}
        for field in fields(cls):
            with suppress(KeyError, TypeError, ValueError, RequestError):
                found[field.name] = _read(document[field.name], field.default)
        return cls(**found)


def _read(value: Any, default: object) -> Any:
    """Return a stored value as a field with this default holds it; raises what reading it raises."""
    if isinstance(default, tuple):
        return parse_cidrs(value) or default
    if isinstance(default, frozenset):
        return NodeConfig().with_sources(value, ()).overlay_sources
    if type(value) is not type(default):
        raise TypeError(f"{value!r} is not like {default!r}")
    return value


def _within(what: str, allowed: range, value: int) -> int:
    if value and value not in allowed:
        raise RequestError(f"{what} {value} must be between {allowed.start} and {allowed.stop - 1}")
    return value


def _device_name(text: str) -> str:
    """Check a name that is matched in nftables, where some characters are more than themselves; "" stays."""
    if any(c in '"*\\' for c in text):
        raise RequestError(f"Invalid interface name {text!r}")
    return interface_name(text) if text else ""


_READERS: dict[str, Callable[[Any], Any]] = {
    "cluster_cidrs": parse_cidrs,
    "mtu": partial(_within, "MTU", MTU_RANGE),
    "vxlan_interface": _device_name,
    "vxlan_port": partial(_within, "VXLAN port", range(1, 65536)),
    "prefix_length": partial(_within, "Prefix length", PREFIX_LENGTHS),
    "vni": partial(_within, "VNI", VNIS),
}
"""What checks a value that a request has, by field: RequestError where it cannot be."""


def _host_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise RequestError(f"Overlay source {text[:64]!r} is not an address") from error
