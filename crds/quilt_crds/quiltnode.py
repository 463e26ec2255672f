"""QuiltNode: one node of the mesh, under the name of its Kubernetes Node.

Two processes write its status, each by server-side apply under its own field manager: the agent says what
the node is, the operator what the mesh makes of it. Nothing volatile (counters, times) belongs here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, Field

from quilt_crds.base import ApiModel, Int, ObjectMeta
from quilt_crds.cidrs import Cidr, CidrOrEmpty, IPOrEmpty
from quilt_crds.conditions import Conditions
from quilt_crds.names import DOWN, PENDING, UP
from quilt_crds.quiltnetwork import Device

MAC_PATTERN = r"^(([0-9a-f]{2}:){5}[0-9a-f]{2})?$"
# A network card's: no group address.
MEMBER_PATTERN = r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$"


Member = Annotated[str, Field(max_length=17, json_schema_extra={"pattern": MEMBER_PATTERN})]


class NodeRoute(ApiModel):
    """A network behind one interface of the node, for example that of virtual machines on a bridge."""

    destination: Cidr
    """IPv4 network, outside of the mesh's own."""
    interface: Device | None = Field(default=None)
    """Name of the interface that leads there."""
    bridge_member: Member | None = Field(default=None)
    """MAC of a machine there: the interface is the bridge that learns it."""


NodeRoutes = Annotated[
    list[NodeRoute],
    Field(
        max_length=16,
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["destination"],
        },
    ),
]


class QuiltNodeSpec(ApiModel):
    """What an administrator decides about a node; empty by default."""

    subnet: CidrOrEmpty = ""
    """Static assignment; empty lets the operator choose."""
    host_ip: IPOrEmpty = ""
    """Underlay address, believed without confirmation by the Node; empty lets the agent report it."""
    routes: NodeRoutes = Field(default=[])
    """Routes of this node alone, which its agent keeps beside the mesh's."""


class QuiltNodeStatus(ApiModel):
    """What is observed; phase, subnets, mac, lastTransitionTime are the operator's, the rest the agent's."""

    host_ip: IPOrEmpty = ""
    """Address at which the agent can be reached over the underlay."""
    hostname: str = Field(default="", max_length=253)
    """The machine's own name."""
    cpu_cores: Int = Field(default=0, ge=0, le=65536)
    """Processors that the kernel has online."""
    memory_mb: Int = Field(default=0, ge=0, le=1 << 40)
    """RAM in MB (10^6 bytes)."""
    version: str = Field(default="", max_length=64)
    """Version of the agent."""
    served_subnets: list[Cidr] = Field(default=[], max_length=4)
    """The subnets that the node's runtime serves: pods have addresses of these. An older agent tells none."""
    phase: str | None = Field(default=None, json_schema_extra={"enum": [PENDING, UP, DOWN]})
    """Pending: without a subnet or a confirmed address. Up: peers route to it. Down: they do not."""
    subnets: list[Cidr] = Field(default=[], max_length=4)
    """The node's claims, those in use first; of two in one family the last is the one to move to."""
    mac: str = Field(default="", max_length=17, json_schema_extra={"pattern": MAC_PATTERN})
    """VTEP MAC, for display; it is derived from the names of network and node."""
    last_transition_time: AwareDatetime | None = None
    """When `phase` last changed."""
    conditions: Conditions = Field(default=[])


class QuiltNode(ApiModel):
    """One node of the mesh."""

    metadata: ObjectMeta
    spec: QuiltNodeSpec = QuiltNodeSpec()
    status: QuiltNodeStatus = QuiltNodeStatus()
