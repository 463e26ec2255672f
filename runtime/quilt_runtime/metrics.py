"""Prometheus metrics of the runtime, in a registry of their own so that two runtimes fit into one process."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

LATENCY = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """Every metric that the runtime keeps."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.rpcs = Histogram(
            "quilt_runtime_rpc_seconds",
            "Duration of RPCs.",
            ["method"],
            registry=self.registry,
            buckets=LATENCY,
        )
        self.rpc_failures = Counter(
            "quilt_runtime_rpc_failures", "RPCs answered with an error.", ["method"], registry=self.registry
        )
        self.cni = Histogram(
            "quilt_runtime_cni_seconds",
            "Duration of CNI verbs.",
            ["verb"],
            registry=self.registry,
            buckets=LATENCY,
        )
        self.cni_failures = Counter(
            "quilt_runtime_cni_failures", "CNI verbs refused.", ["verb", "code"], registry=self.registry
        )
        self.drift_repairs = Counter(
            "quilt_runtime_drift_repairs",
            "Entries repaired that others changed.",
            ["kind"],
            registry=self.registry,
        )
        self.allocated = Gauge(
            "quilt_runtime_addresses_allocated", "Addresses in use.", registry=self.registry
        )
        self.capacity = Gauge("quilt_runtime_addresses_capacity", "Addresses in all.", registry=self.registry)
        self.route_changes = Counter(
            "quilt_runtime_route_changes", "Routes written or removed.", registry=self.registry
        )
        self.route_failures = Counter(
            "quilt_runtime_route_failures", "Route items refused.", registry=self.registry
        )

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self.registry)
