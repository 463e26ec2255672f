"""What a node is like, as far as the mesh depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class VxlanDevice:
    """A VXLAN device of the node, anybody's."""

    name: str
    vni: int
    port: int
    mtu: int
    up: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain in the forward hook that refuses what no rule accepts, e.g. `ip filter FORWARD`."""

    name: str
    accepts: bool = False
    """Whether rules in it accept traffic of quilt0."""


@dataclass(frozen=True, slots=True)
class Holding:
    """An address with its prefix length that a device has, e.g. `10.42.1.1/24` of cni0."""

    device: str
    address: str


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One look at a node. None and missing keys mean that it could not be looked at.

    `can_make` maps a kind of device (vxlan, bridge, veth) to whether the kernel makes one. `underlay` is the
    interface of the default route with its MTU in bytes. `drops_untracked` are chains that let the overlay's
    port pass for tracked connections alone, `legacy_iptables` whether there are rules that nft does not show.
    `nft_has` maps modules of the kernel's packet filter to whether it has them, `host_programs` are those of
    iptables and nft that the host itself has. `sysctls` are named as below /proc/sys/net. `cni_files` are the
    names in the CNI configuration folder, None where it cannot be read; `cni_own` is the mesh's among them.
    `policies` is whether there is a table of network policies, `ipvs` whether kube-proxy's IPVS mode runs.
    """

    kernel: str
    can_make: Mapping[str, bool | None] = field(default_factory=dict)
    nexthop_objects: bool | None = None
    nft: str | None = None
    vxlans: tuple[VxlanDevice, ...] = ()
    bridge: bool = False
    underlay: str = ""
    underlay_mtu: int = 0
    port_in_use: bool | None = None
    drops_forward: tuple[Chain, ...] | None = None
    drops_untracked: tuple[str, ...] | None = None
    legacy_iptables: bool = False
    nft_has: Mapping[str, bool | None] = field(default_factory=dict)
    host_programs: frozenset[str] | None = None
    sysctls: Mapping[str, str] = field(default_factory=dict)
    cni_folder: str = "/etc/cni/net.d"
    cni_files: tuple[str, ...] | None = None
    cni_own: str = "10-quilt.conflist"
    runtime_answers: bool = False
    policies: bool = False
    ipvs: bool = False
    addresses: tuple[Holding, ...] = ()
