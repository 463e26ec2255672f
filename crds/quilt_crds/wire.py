"""What there is of a node, as msgspec structs: claims, QuiltNodes, and Kubernetes' own Nodes and Leases.

They have the fields that components read, by their names on the wire. `definitions` is the one description of
our kinds; here is the part of it that a process decodes, without pydantic: 5,000 claims decode in
milliseconds. A test holds every field to the description. All have defaults, so that objects of an older or
newer release can be read; nothing here is trusted to be well-formed. The network is in `wire_network`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from quilt_crds.names import AGENT_CONDITIONS, READY, wire_name

# The CRD's limit of a condition's message.
_MESSAGE_LIMIT: Final = 1024


class Wire(msgspec.Struct, frozen=True, rename=wire_name):
    """Base of all structs: immutable, camelCase on the wire."""


class Meta(Wire, frozen=True):
    """Object metadata; times in RFC 3339."""

    name: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    annotations: dict[str, str] = {}

    @property
    def version(self) -> int:
        """`resource_version` as a number, comparable for one resource (KEP-5504); 0 when absent."""
        return int(self.resource_version) if self.resource_version.isdecimal() else 0


class Condition(Wire, frozen=True):
    """One observation: `status` True, False or Unknown, `reason` a CamelCase word, `message` a sentence."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int | msgspec.UnsetType = msgspec.UNSET

    @property
    def text(self) -> str:
        """What people read."""
        return self.message or self.reason or self.status

    def settled(self, before: Condition | None, now: str, generation: int = 0) -> Condition:
        """Return this with its time: that of `before` while the status stays; the message cut to the limit.

        `generation` is that of the object which the observation is about; 0 says nothing of it.

        Equal input gives an equal condition, so that a write that says nothing new can be left out.
        """
        same = before is not None and before.status == self.status
        since = before.last_transition_time if before is not None and same else ""
        text = self.message
        if len(text) > _MESSAGE_LIMIT:
            text = text[: _MESSAGE_LIMIT - 1] + "…"
        seen = generation or msgspec.UNSET
        return msgspec.structs.replace(
            self, message=text, last_transition_time=since or now, observed_generation=seen
        )


def find_condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """Return the condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == type_), None)


class WireObject(Wire, frozen=True):
    """Base of objects, with whatever conditions they have."""

    metadata: Meta = Meta()

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.metadata.name

    @property
    def uid(self) -> str:
        """metadata.uid."""
        return self.metadata.uid

    @property
    def version(self) -> int:
        """The state that this is: `Meta.version`."""
        return self.metadata.version

    @property
    def deleting(self) -> bool:
        """Whether it was deleted and waits for its finalizers."""
        return bool(self.metadata.deletion_timestamp)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions of its status."""
        found: tuple[Condition, ...] = getattr(getattr(self, "status", None), "conditions", ())
        return found

    def condition(self, type_: str) -> Condition | None:
        """Return the condition of that type, or None."""
        return find_condition(self.conditions, type_)

    def has(self, type_: str, status: str = "True") -> bool:
        """Whether a condition has that status."""
        held = self.condition(type_)
        return held is not None and held.status == status


class SubnetSpec(Wire, frozen=True):
    """The claim."""

    cidr: str = ""
    network: str = ""
    node: str = ""


class Mesh(Wire, frozen=True, omit_defaults=True):
    """What peers do with a claim; what is empty is left out when it is sent."""

    phase: str = ""
    host_ip: str = ""
    released_at: str = ""


class QuiltSubnet(WireObject, frozen=True):
    """A claim: `spec.node` owns `spec.cidr`."""

    spec: SubnetSpec = SubnetSpec()
    mesh: Mesh = Mesh()

    @property
    def cidr(self) -> str:
        """The subnet; not trusted to be well-formed."""
        return self.spec.cidr

    @property
    def node(self) -> str:
        """Name of the owner."""
        return self.spec.node


class NodeRoute(Wire, frozen=True):
    """One of a QuiltNode's routes: `interface` or `bridge_member` is given."""

    destination: str = ""
    interface: str = ""
    bridge_member: str = ""


class QuiltNodeSpec(Wire, frozen=True):
    """What an administrator decides about a node."""

    subnet: str = ""
    host_ip: str = ""
    routes: tuple[NodeRoute, ...] = ()


class QuiltNodeStatus(Wire, frozen=True):
    """What is observed: phase, subnets, mac and lastTransitionTime by the operator, the rest by the agent."""

    host_ip: str = ""
    hostname: str = ""
    cpu_cores: int = 0
    memory_mb: int = 0
    version: str = ""
    served_subnets: tuple[str, ...] = ()
    phase: str = ""
    subnets: tuple[str, ...] = ()
    mac: str = ""
    last_transition_time: str = ""
    conditions: tuple[Condition, ...] = ()


class QuiltNode(WireObject, frozen=True):
    """One node of the mesh."""

    spec: QuiltNodeSpec = QuiltNodeSpec()
    status: QuiltNodeStatus = QuiltNodeStatus()

    @property
    def reported(self) -> bool:
        """Whether an agent ever reported here: none did for a node that was only prepared."""
        status = self.status
        by_agent = any(condition.type in AGENT_CONDITIONS for condition in status.conditions)
        return bool(status.host_ip or status.served_subnets) or by_agent


class LabeledMeta(Meta, frozen=True):
    """Metadata of an object whose labels count."""

    labels: dict[str, str] = {}


class NodeAddress(Wire, frozen=True):
    """One address of a Node."""

    type: str = ""
    address: str = ""


class NodeInfo(Wire, frozen=True):
    """What a kubelet runs on."""

    kernel_version: str = ""
    kubelet_version: str = ""
    operating_system: str = "linux"


class NodeSpec(Wire, frozen=True):
    """spec of a Node: what kube-controller-manager gave it, at most one of each family."""

    pod_cidrs: tuple[str, ...] = ()


class NodeStatus(Wire, frozen=True):
    """status of a Node."""

    addresses: tuple[NodeAddress, ...] = ()
    capacity: dict[str, str] = msgspec.field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    node_info: NodeInfo = NodeInfo()


class Node(WireObject, frozen=True):
    """A Kubernetes Node."""

    metadata: LabeledMeta = LabeledMeta()
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def ready(self) -> bool:
        """Whether the kubelet says that pods can run."""
        return self.has(READY)

    @property
    def linux(self) -> bool:
        """Whether it runs Linux, which is assumed of a node that has not reported it."""
        return self.status.node_info.operating_system == "linux"

    @property
    def internal_ips(self) -> tuple[str, ...]:
        """The InternalIP addresses, in the Node's order."""
        return tuple(item.address for item in self.status.addresses if item.type == "InternalIP")

    @property
    def ips(self) -> tuple[str, ...]:
        """The addresses that are really on the node (a name confirms nothing), InternalIP first."""
        external = (item.address for item in self.status.addresses if item.type == "ExternalIP")
        return tuple(dict.fromkeys((*self.internal_ips, *external)))

    @property
    def network_unavailable(self) -> bool:
        """Whether a cloud waits for routes to it."""
        found = self.condition("NetworkUnavailable")
        return found is not None and found.status != "False"

    @property
    def pods(self) -> int:
        """How many pods the kubelet runs at most; 0 while it has not reported that as a plain number."""
        text = self.status.capacity.get("pods", "")
        return int(text) if text.isdecimal() else 0


class LeaseSpec(Wire, frozen=True):
    """spec of a Lease: times are text, and another's clock is never believed."""

    renew_time: str = ""


class Lease(WireObject, frozen=True):
    """A Lease."""

    spec: LeaseSpec = LeaseSpec()
