"""What the node's pod network depends on: flags give the defaults, the agent's Configure the truth."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Self, TypeVar

from quilt_crds.names import DEFAULT_CLUSTER_CIDRS, DEFAULT_VNI, IPV6_MTU, VXLAN_DEVICE, VXLAN_PORT
from quilt_runtime.core.errors import RequestError
from quilt_runtime.core.firewall import Firewall
from quilt_runtime.core.requests import cluster_cidrs as parse_cidrs
from quilt_runtime.core.routes import all_canonical4, interface_name

T = TypeVar("T")

DEFAULT_MTU = 1450  # an Ethernet underlay of 1500 less VXLAN over IPv4
MTU_RANGE = range(576, 65536)
PREFIX_LENGTHS = range(1, 33)  # whatever kube-controller-manager cuts; core.requests tells which have room
VNIS = range(1, 1 << 24)
# Stored apart: a release that does not know them must be able to read the rest after a roll-back.
SINCE_FIRST = ("spoof_guard", "vni", "masquerade")


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

    def firewall(self, subnet: IPv4Network | None, subnet6: IPv6Network | None = None) -> Firewall:
        """Return what the nftables table has to say for this configuration."""
        return Firewall(
            subnet=str(subnet or ""),
            cluster_cidrs=self.cluster_cidrs,
            vxlan_port=self.vxlan_port,
            overlay_sources=self.overlay_sources,
            subnet6=str(subnet6 or ""),
            multicast=self.multicast,
            vni=self.vni,
            device=self.vxlan_interface,
            spoof_guard=self.spoof_guard,
            masquerade=self.masquerade,
        )

    def merged(
        self,
        *,
        cluster_cidrs: Iterable[str],
        mtu: int,
        vxlan_interface: str,
        vxlan_port: int,
        overlay_sources: Collection[str],
        prefix_length: int,
        vni: int = 0,
    ) -> tuple[Self, list[str]]:
        """Return the configuration that a request asks for, and why some of it cannot be.

        What the request leaves empty or zero stays as it is, and so does what cannot be used: peers are taken
        in whatever is wrong with the rest. The overlay sources are always the request's.
        """
        refused: list[str] = []

        def read(reading: Callable[[], T], held: T) -> T:
            try:
                return reading() or held
            except RequestError as error:
                refused.append(str(error))
                return held

        sources = read(lambda: self._sources(overlay_sources), self.overlay_sources)
        config = replace(
            self,
            cluster_cidrs=read(lambda: parse_cidrs(cluster_cidrs), self.cluster_cidrs),
            mtu=read(lambda: _within("MTU", mtu, MTU_RANGE), self.mtu),
            vxlan_interface=read(lambda: _device_name(vxlan_interface), self.vxlan_interface),
            vxlan_port=read(lambda: _within("VXLAN port", vxlan_port, range(1, 65536)), self.vxlan_port),
            overlay_sources=sources if overlay_sources else frozenset(),
            prefix_length=read(
                lambda: _within("Prefix length", prefix_length, PREFIX_LENGTHS), self.prefix_length
            ),
            vni=read(lambda: _within("VNI", vni, VNIS), self.vni),
        )
        return config, refused

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

    def with_multicast(self, on: bool, fast_leave: bool) -> Self:
        """Return the configuration with multicast on or off; `fast_leave` matters while it is on."""
        return replace(self, multicast=on, fast_leave=fast_leave)

    def with_spoof_guard(self, on: bool) -> Self:
        """Return the configuration with pods held to their own addresses, or not."""
        return replace(self, spoof_guard=on)

    def but_sources(self, other: Self) -> bool:
        """Whether the two differ in nothing but the overlay's sources."""
        return replace(self, overlay_sources=other.overlay_sources) == other

    def document(self) -> dict[str, Any]:
        """Return the JSON form that the state keeps."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        kept = {name: value for name, value in held.items() if name not in SINCE_FIRST}
        return {**kept, "overlay_sources": list(self.overlay_sources)}

    def later_document(self) -> dict[str, Any]:
        """Return what `document` leaves out, as JSON too."""
        return {name: getattr(self, name) for name in SINCE_FIRST}

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


def _within(what: str, value: int, allowed: range) -> int:
    if value and value not in allowed:
        raise RequestError(f"{what} {value} must be between {allowed.start} and {allowed.stop - 1}")
    return value


def _device_name(text: str) -> str:
    """Check a name that is matched in nftables, where some characters are more than themselves; "" stays."""
    if any(c in '"*\\' for c in text):
        raise RequestError(f"Invalid interface name {text!r}")
    return interface_name(text) if text else ""


def _host_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise RequestError(f"Overlay source {text[:64]!r} is not an address") from error
