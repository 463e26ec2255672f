"""Prometheus metrics of the runtime, in a registry of their own so that two runtimes fit into one process."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

import prometheus_client as prometheus

# Seconds; few, as each is a series of every node and verb.
_BUCKETS = (0.1, 0.5, 2.5)
# When a counter was made would be a series beside each.
prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Every metric that the runtime keeps."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        counter = partial(prometheus.Counter, registry=self.registry)
        gauge = partial(prometheus.Gauge, registry=self.registry)
        build = gauge("quilt_runtime_build_info", "1, with the version of this process.", ["version"])
        build.labels(version("quilt-mesh")).set(1)
        self.rpcs = prometheus.Summary(
            "quilt_runtime_rpc_duration_seconds", "Duration of RPCs.", ["method"], registry=self.registry
        )
        self.rpc_failures = counter("quilt_runtime_rpc_failures", "RPCs answered with an error.", ["method"])
        self.cni = prometheus.Histogram(
            "quilt_runtime_cni_duration_seconds",
            "Duration of CNI verbs, those refused too.",
            ["verb"],
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self.cni_failures = counter("quilt_runtime_cni_failures", "CNI verbs refused.", ["verb", "code"])
        self.drift_repairs = counter(
            "quilt_runtime_drift_repairs", "Entries repaired that others changed.", ["kind"]
        )
        self.allocated = gauge("quilt_runtime_addresses_allocated", "Addresses in use.")
        self.capacity = gauge("quilt_runtime_addresses_capacity", "Addresses in all.")
        self.refusals = gauge(
            "quilt_runtime_foreign_drop_chains", "Chains of others that drop what pods send or get."
        )
        self.route_changes = counter("quilt_runtime_route_changes", "Routes written or removed.")
        self.route_failures = counter("quilt_runtime_route_failures", "Route items refused.")

    def text(self) -> bytes:
        """Return the exposition format."""
        return prometheus.generate_latest(self.registry)
