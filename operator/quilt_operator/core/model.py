"""What the operator knows of the cluster, as plain values.

Only the fields that a decision reads are kept, so that two snapshots are equal exactly when no decision can
differ; comparing them is how the operator stays silent while nothing that matters changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from quilt_crds.names import AGENT_CONDITIONS
from quilt_crds.wire import Condition, Mesh, find_condition


@dataclass(frozen=True, slots=True)
class MeshNode:
    """A QuiltNode. The spec is the administrator's, `host_ip` and agent conditions are the agent's word."""

    name: str
    uid: str = ""
    version: int = 0
    deleting: bool = False
    wanted_subnet: str = ""
    wanted_host_ip: str = ""
    host_ip: str = ""
    phase: str = ""
    subnets: tuple[str, ...] = ()
    mac: str = ""
    since: str = ""
    conditions: tuple[Condition, ...] = ()
    served: tuple[str, ...] = ()
    """What the node's runtime serves, by the agent's word; an older agent tells nothing."""

    @property
    def spoke(self) -> bool:
        """Whether an agent ever reported here: a node that was only prepared has none."""
        return bool(self.host_ip or self.served) or any(c.type in AGENT_CONDITIONS for c in self.conditions)

    def condition(self, type_: str) -> Condition | None:
        """The condition of that type, or None."""
        return find_condition(self.conditions, type_)


@dataclass(frozen=True, slots=True)
class KubeNode:
    """A Node: the addresses that the kubelet vouches for and whether a cloud waits for routes.

    `pod_cidrs` are what kube-controller-manager gave it, at most one of each family.
    """

    name: str
    uid: str = ""
    version: int = 0
    addresses: frozenset[str] = frozenset()
    network_unavailable: bool = False
    pod_cidrs: tuple[str, ...] = ()
    pods: int = 0
    """How many pods its kubelet runs at most; 0 while it has not said so."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A QuiltSubnet: `node` owns `cidr`. Nothing here is trusted to be well-formed."""

    name: str
    cidr: str
    network: str
    node: str
    mesh: Mesh
    uid: str = ""
    version: int = 0
    created: str = ""
