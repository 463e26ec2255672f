"""Prometheus metrics of the runtime, in a registry of their own so that two runtimes fit into one process."""

from __future__ import annotations

from functools import partial

import prometheus_client as prometheus

LATENCY = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """Every metric that the runtime keeps."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self.registry)
        histogram = partial(prometheus.Histogram, registry=self.registry, buckets=LATENCY)
        counter = partial(prometheus.Counter, registry=self.registry)
        gauge = partial(prometheus.Gauge, registry=self.registry)
        self.rpcs = histogram("quilt_runtime_rpc_seconds", "Duration of RPCs.", ["method"])
        self.rpc_failures = counter("quilt_runtime_rpc_failures", "RPCs answered with an error.", ["method"])
        self.cni = histogram("quilt_runtime_cni_seconds", "Duration of CNI verbs.", ["verb"])
        self.cni_failures = counter("quilt_runtime_cni_failures", "CNI verbs refused.", ["verb", "code"])
        self.drift_repairs = counter(
            "quilt_runtime_drift_repairs", "Entries repaired that others changed.", ["kind"]
        )
        self.allocated = gauge("quilt_runtime_addresses_allocated", "Addresses in use.")
        self.capacity = gauge("quilt_runtime_addresses_capacity", "Addresses in all.")
        self.route_changes = counter("quilt_runtime_route_changes", "Routes written or removed.")
        self.route_failures = counter("quilt_runtime_route_failures", "Route items refused.")

    def text(self) -> bytes:
        """Return the exposition format."""
        return prometheus.generate_latest(self.registry)
