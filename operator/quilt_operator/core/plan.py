"""The QuiltNetwork, reduced to what decisions need."""

from __future__ import annotations

from dataclasses import dataclass

from quilt_crds.quiltnetwork import QuiltNetworkSpec
from quilt_operator.core.allocator import Pool, make_pools
from quilt_operator.core.health import Policy

CIDRS = {4: "clusterCIDRs", 6: "clusterCIDRsV6"}
"""The field of a QuiltNetwork that holds the ranges of a family."""


@dataclass(frozen=True)
class Plan:
    """Address pools by family, the rules of health, and how long a deleted node's subnet waits (seconds)."""

    network: str
    pools: dict[int, Pool]
    policy: Policy
    grace: float
    adopts: bool = False
    """Whether the Nodes' podCIDRs are the subnets."""
    uid: str = ""
    generation: int = 0

    @classmethod
    def of(cls, network: str, spec: QuiltNetworkSpec, *, uid: str = "", generation: int = 0) -> Plan:
        """The plan of a QuiltNetwork's spec."""
        adopts = spec.ipam.mode == "kubernetes"
        return cls(
            network=network,
            pools=make_pools(
                spec.cluster_cidrs,
                spec.node_prefix_length,
                spec.cluster_cidrs_v6 or (),
                spec.node_prefix_length_v6,
                reserving=not adopts,
            ),
            policy=Policy(
                interval=spec.heartbeat.interval_seconds,
                timeout=spec.heartbeat.timeout_seconds,
                agent_only=spec.heartbeat.source == "Agent",
                threshold=spec.disruption_fraction,
            ),
            # Who hands out the subnets decides when one is used again.
            grace=0.0 if adopts else spec.reuse_grace_seconds,
            adopts=adopts,
            uid=uid,
            generation=generation,
        )

    @property
    def families(self) -> tuple[int, ...]:
        """The families of which every node gets one subnet."""
        return tuple(self.pools)
