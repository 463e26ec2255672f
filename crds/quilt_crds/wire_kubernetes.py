"""The objects of Kubernetes itself that components read, as msgspec structs with defaults."""

from __future__ import annotations

import msgspec

from quilt_crds.names import READY
from quilt_crds.wire import Condition, Wire, WireObject


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

    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def ready(self) -> bool:
        """Whether the kubelet says that pods can run."""
        return self.has(READY)

    @property
    def linux(self) -> bool:
        """Whether it runs Linux, as a node that has not said so does."""
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
        """How many pods the kubelet runs at most; 0 while it has not said so in a plain number."""
        text = self.status.capacity.get("pods", "")
        return int(text) if text.isdecimal() else 0


class LeaseSpec(Wire, frozen=True):
    """spec of a Lease: times are text, and another's clock is never believed."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    renew_time: str = ""


class Lease(WireObject, frozen=True):
    """A Lease."""

    spec: LeaseSpec = LeaseSpec()
