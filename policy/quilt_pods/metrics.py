"""Gauges of network policies on a node; names start with `quilt_policy_`."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Gauge


class PolicyMetrics:
    """All metrics of the policy part of one agent; all are 0 while policies are not enforced."""

    def __init__(self, registry: CollectorRegistry) -> None:
        gauge = partial(Gauge, registry=registry)
        self.enforced = gauge("quilt_policy_enforced", "1 while the runtime enforces what was compiled.")
        self.policies = gauge("quilt_policy_policies", "Policies that were read for pods of this node.")
        self.profiles = gauge(
            "quilt_policy_profiles", "Different combinations of policies that hold for pods of this node."
        )
        self.sets = gauge("quilt_policy_sets", "Selectors whose addresses this node's rules need.")
        self.waiting = gauge("quilt_policy_waiting_pods", "Pods whose start waits for their policies.")
        self.changed = gauge(
            "quilt_policy_last_change_timestamp_seconds", "When the runtime last applied a change."
        )

    def clear(self) -> None:
        """Nothing is enforced."""
        for one in (self.enforced, self.policies, self.profiles, self.sets, self.waiting, self.changed):
            one.set(0)
