"""Counters and gauges of the agent, in a registry of its own so that tests can have several agents."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

# Seconds: a targeted repair needs a millisecond, a resync of thousands of peers some tens. Few, as each is a
# series of every node.
_BUCKETS = (0.001, 0.01, 0.1, 1.0)
# When a counter was made would be a series beside each.
disable_created_metrics()  # type: ignore[no-untyped-call]
DRIFT_KINDS = ("link", "address", "sysctl", "neighbour", "fdb", "route", "nexthop", "unreachable")


class Metrics:
    """All metrics of one agent; names start with `quilt_agent_`."""

    def __init__(self) -> None:
        r = self.registry = CollectorRegistry()
        gauge, counter = partial(Gauge, registry=r), partial(Counter, registry=r)
        build = gauge("quilt_agent_build_info", "1, with the version of this process.", ["version"])
        build.labels(version("quilt-mesh")).set(1)
        self.peers_desired = gauge("quilt_agent_peers_desired", "Peer subnets that should be routed.")
        self.peers_in_sync = gauge(
            "quilt_agent_peers_in_sync", "Peer subnets whose route, FDB entry and neighbour exist."
        )
        self.in_sync = gauge("quilt_agent_in_sync", "1 when the kernel is verified as wanted.")
        self.drift_repairs = counter(
            "quilt_agent_drift_repairs", "Entries repaired that others changed or removed.", ["kind"]
        )
        for kind in DRIFT_KINDS:
            # A rate over a series that does not exist yet misses its first step.
            self.drift_repairs.labels(kind)
        self.writes = counter("quilt_agent_kernel_writes", "Entries written or removed.", ["kind"])
        self.write_failures = counter(
            "quilt_agent_kernel_write_failures", "Entries that the kernel or runtime refused.", ["kind"]
        )
        self.reconcile_seconds = Histogram(
            "quilt_agent_reconcile_duration_seconds",
            "Duration of passes.",
            ["scope"],
            buckets=_BUCKETS,
            registry=r,
        )
        self.resyncs = counter("quilt_agent_resyncs", "Full passes, by what asked for them.", ["cause"])
        self.lease_renewals = counter("quilt_agent_lease_renewals", "Heartbeats written.")
        self.lease_failures = counter("quilt_agent_lease_failures", "Heartbeats that failed.")
        self.watch_age = gauge(
            "quilt_agent_api_watch_age_seconds", "Since the API server last sent anything.", ["watch"]
        )
        self.runtime_errors = counter("quilt_agent_runtime_errors", "Failed calls of the runtime.", ["error"])
        self.runtime_ready = gauge("quilt_agent_runtime_ready", "1 while the runtime answers.")
