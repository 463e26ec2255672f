"""QuiltNetwork: the cluster's address plan and how the mesh behaves. One object, named `default`."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from quilt_crds.base import ApiModel, Bool, Int, ObjectMeta
from quilt_crds.cidrs import Cidr, check_disjoint
from quilt_crds.conditions import Conditions
from quilt_crds.durations import DURATION_PATTERN, PERCENT_PATTERN, parse_duration, parse_percent
from quilt_crds.names import DEFAULT_CLUSTER_CIDRS, DEFAULT_VNI, VXLAN_DEVICE, VXLAN_PORT


def _check_duration(text: str) -> str:
    parse_duration(text)
    return text


def _check_percent(text: str) -> str:
    parse_percent(text)
    return text


def _check_device(text: str) -> str:
    if not re.fullmatch(DEVICE_PATTERN.strip("^$"), text, re.ASCII):
        raise ValueError(
            f"{text!r} is not an interface name; use at most 15 letters, digits, '.', '_' or '-'"
        )
    return text


def _check_interfaces(text: str) -> str:
    if not re.fullmatch(INTERFACES_PATTERN.strip("^$"), text, re.ASCII):
        raise ValueError(f"{text!r} names no interfaces; write for example eth1 or eth1,bond*")
    return text


def _check_mtu(value: int | str) -> int | str:
    if value != "auto" and not (isinstance(value, int) and MTU_MIN <= value <= MTU_MAX):
        raise ValueError(f"{value!r} is not an MTU; write auto or a number from {MTU_MIN} to {MTU_MAX}")
    return value


DEVICE_PATTERN = r"^[A-Za-z][A-Za-z0-9_.-]{0,14}$"
# Names with `*` and `?`, between commas; the kernel refuses longer names (IFNAMSIZ).
INTERFACES_PATTERN = r"^([A-Za-z0-9_.*?-]{1,15}(,[A-Za-z0-9_.*?-]{1,15})*)?$"
NAMESPACE_PATTERN = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
# RFC 8200 section 5: no IPv6 link may be smaller.
MTU_MIN = 1280
MTU_MAX = 65000

Duration = Annotated[
    str,
    Field(max_length=32, json_schema_extra={"pattern": DURATION_PATTERN}),
    AfterValidator(_check_duration),
]
Percent = Annotated[
    str, Field(max_length=4, json_schema_extra={"pattern": PERCENT_PATTERN}), AfterValidator(_check_percent)
]
Device = Annotated[
    str,
    Field(max_length=15, json_schema_extra={"pattern": DEVICE_PATTERN}),
    AfterValidator(_check_device),
]
Interfaces = Annotated[
    str,
    Field(max_length=255, json_schema_extra={"pattern": INTERFACES_PATTERN}),
    AfterValidator(_check_interfaces),
]
Mtu = Annotated[Int | str, AfterValidator(_check_mtu)]
# A set, so that server-side apply lets the chart and an administrator own entries of their own.
Cidrs = Annotated[
    list[Cidr],
    Field(min_length=1, max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"}),
    AfterValidator(check_disjoint),
]

# In order of preference, so that they may overlap; replaced as a whole, as that order is one author's.
UnderlayCidrs = Annotated[
    list[Cidr], Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"})
]

# DNS labels, as namespaces are called. Replaced as a whole: of a set, a hand's entry could not be taken back.
Namespaces = Annotated[
    list[Annotated[str, Field(max_length=63, json_schema_extra={"pattern": NAMESPACE_PATTERN})]],
    Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
]


class Underlay(ApiModel):
    """Which of its addresses a node uses on the network below the mesh; both empty: its Node's InternalIP."""

    interface: Interfaces = ""
    """Names of interfaces between commas, with `*` and `?`: the address is on the first that has one."""
    cidrs: UnderlayCidrs = Field(default=[])
    """The address is in the first of these networks, of either family, in which the node has one."""


class Vxlan(ApiModel):
    """The overlay device that every node makes."""

    vni: Int = Field(default=DEFAULT_VNI, ge=1, le=16777215)
    """VXLAN network identifier (24 bits)."""
    port: Int = Field(default=VXLAN_PORT, ge=1, le=65535)
    """UDP destination port between nodes."""
    device: Device = VXLAN_DEVICE
    """Name of the device on every node."""
    mtu: Mtu = "auto"
    """MTU of the device and of pods; `auto` is the underlay's MTU less the encapsulation."""
    direct_routing: Bool = False
    """Route without encapsulation between nodes that share a link."""


class Heartbeat(ApiModel):
    """How a dead node is noticed."""

    interval: Duration = "10s"
    """How often an agent renews its Lease."""
    timeout: Duration = "30s"
    """How long without a renewal until a node's routes are withdrawn; at least twice the interval."""
    source: Literal["Both", "Agent"] = "Both"
    """Whose renewals must stop: the agent's and the kubelet's, or the agent's alone."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        interval = parse_duration(self.interval)
        if interval < 1:
            raise ValueError(f"interval is {self.interval}, must be at least 1s")
        if parse_duration(self.timeout) < 2 * interval:
            raise ValueError(
                f"timeout is {self.timeout}, must be at least twice the interval of {self.interval}"
            )
        return self


class Multicast(ApiModel):
    """Multicast between pods of different nodes."""

    enabled: Bool = False
    """Whether groups cross the mesh. Every agent then needs NET_RAW and a key that the chart makes."""
    fast_leave: Bool = True
    """Whether a pod's leave counts at once. False asks again first, for pods that hide several members."""
    namespaces: Namespaces = Field(default=[])
    """Only pods of these namespaces send to other nodes and receive from them; empty: pods of all."""
    max_groups_per_pod: Int = Field(default=64, ge=1, le=4096)
    """Groups that one pod can be a member of; more are not delivered from other nodes."""
    max_groups_per_node: Int = Field(default=1024, ge=1, le=4096)
    """Groups with members on one node; more are not delivered from other nodes."""


class Policy(ApiModel):
    """Network policies: the API's own NetworkPolicy and ClusterNetworkPolicy."""

    enabled: Bool = False
    """Whether nodes enforce them. A pod is then started when the rules for it are there."""
    log_denied: Bool = False
    """Whether runtimes log what policies deny, some packets a second: `policy_denied`, with pods and rule."""


class Endpoints(ApiModel):
    """The list of which pod has which address on which node."""

    enabled: Bool = True
    """Whether agents publish it as QuiltEndpoints; they do where policies are enforced, whatever is here."""


class Probes(ApiModel):
    """How the paths between nodes are watched."""

    enabled: Bool = True
    """Whether nodes probe each other through the overlay; `PeersReachable` then names what fails."""


class Ipam(ApiModel):
    """Who chooses the nodes' subnets."""

    mode: Literal["quilt", "kubernetes"] = "quilt"
    """`quilt`: the operator, from clusterCIDRs; each CIDR's first and last subnet stay reserved.
    `kubernetes`: kube-controller-manager; a Node's podCIDRs are its subnets. Immutable."""


class QuiltNetworkSpec(ApiModel):
    """The wanted network."""

    cluster_cidrs: Cidrs = Field(default=list(DEFAULT_CLUSTER_CIDRS))
    """IPv4 ranges that node subnets are cut from; may only be extended."""
    node_prefix_length: Int = Field(default=24, ge=16, le=28)
    """Prefix length of a node's IPv4 subnet; immutable. With `ipam.mode: kubernetes` podCIDRs of any length
    are taken, and this is only the unit in which status counts them."""
    cluster_cidrs_v6: Cidrs | None = Field(default=None)
    """IPv6 ranges, for a dual-stack mesh; may only be extended."""
    node_prefix_length_v6: Int = Field(default=64, ge=48, le=124)
    """As nodePrefixLength, of a node's IPv6 subnet."""
    ipam: Ipam = Ipam()
    underlay: Underlay = Underlay()
    vxlan: Vxlan = Vxlan()
    heartbeat: Heartbeat = Heartbeat()
    multicast: Multicast = Multicast()
    policy: Policy = Policy()
    endpoints: Endpoints = Endpoints()
    probes: Probes = Probes()
    spoof_guard: Bool = True
    """Whether a pod can send as itself alone, and to its node alone. False for pods that route for others."""
    node_down_policy: Literal["Withdraw", "Keep"] = "Withdraw"
    """What a node that is Down means for its peers' routes to it."""
    disruption_threshold: Percent = "55%"
    """Share of suspect nodes (at least 3) from which nobody is withdrawn: the fault is then elsewhere."""
    reuse_grace_period: Duration = "10m"
    """How long the subnet of a deleted node stays reserved for it."""

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        for cidrs, version, length, name in (
            (self.cluster_cidrs, 4, self.node_prefix_length, "nodePrefixLength"),
            (self.cluster_cidrs_v6 or [], 6, self.node_prefix_length_v6, "nodePrefixLengthV6"),
        ):
            for network in map(ip_network, cidrs):
                if network.version != version:
                    raise ValueError(f"{network} is in the list of IPv{version} ranges")
                if network.prefixlen > length:
                    raise ValueError(f"{name} is /{length}, a node's subnet would not fit into {network}")
        if self.cluster_cidrs_v6 and 128 - self.node_prefix_length_v6 < 32 - self.node_prefix_length:
            raise ValueError(
                f"nodePrefixLengthV6 is /{self.node_prefix_length_v6}, which has fewer addresses than "
                f"nodePrefixLength's /{self.node_prefix_length}: pods have both"
            )
        return self


class SubnetCounts(ApiModel):
    """How many node subnets the clusterCIDRs hold and what became of them."""

    total: Int = Field(default=0, ge=0)
    """Subnets that can be assigned, without the reserved ones."""
    allocated: Int = Field(default=0, ge=0)
    """Subnets that belong to a node."""
    free: Int = Field(default=0, ge=0)
    """Subnets that the next nodes can get."""
    quarantined: Int = Field(default=0, ge=0)
    """Subnets of deleted nodes that wait for the end of the grace period."""


class QuiltNetworkStatus(ApiModel):
    """What the operator observes."""

    observed_generation: Int | None = None
    """The `metadata.generation` that the operator follows; while it is less, the last edit was not seen."""
    subnets: SubnetCounts = SubnetCounts()
    conditions: Conditions = Field(default=[])


class QuiltNetwork(ApiModel):
    """The cluster's address plan and how the mesh behaves."""

    metadata: ObjectMeta
    spec: QuiltNetworkSpec
    status: QuiltNetworkStatus = QuiltNetworkStatus()
