"""Prometheus metrics of the operator, under one prefix."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# When a counter was made would be a series beside each.
disable_created_metrics()  # type: ignore[no-untyped-call]
BUILD: Final = Gauge("quilt_operator_build_info", "1, with the version of this process.", ["version"])
BUILD.labels(version("quilt-mesh")).set(1)

NODES: Final = Gauge("quilt_operator_nodes", "QuiltNodes by phase.", ["phase"])
UNRESPONSIVE: Final = Gauge(
    "quilt_operator_agents_unresponsive", "Nodes whose agent stopped renewing its Lease."
)
SUBNETS: Final = Gauge(
    "quilt_operator_subnets", "Node subnets by family and state (allocated, free, quarantined).",
    ["family", "state"],
)  # fmt: skip
CLAIM_PROBLEMS: Final = Gauge(
    "quilt_operator_faulty_claims", "QuiltSubnets that no node can use as they are."
)
CLAIM_CONFLICTS: Final = Counter(
    "quilt_operator_claim_conflicts_total", "Claims that found their subnet already taken."
)
TRANSITIONS: Final = Counter(
    "quilt_operator_transitions_total", "Changes of a node's verdict.", ["to"]
)  # fmt: skip
GUARD: Final = Gauge("quilt_operator_withdrawal_paused", "1 while no node is withdrawn (mass silence).")
SILENT: Final = Gauge("quilt_operator_silent_nodes", "Nodes that missed a renewal or are Down.")
LEADER: Final = Gauge("quilt_operator_leader", "1 while this process leads.")
RECONCILE: Final = Histogram(
    "quilt_operator_reconcile_duration_seconds", "Time to reconcile one object.", ["kind"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)  # fmt: skip
RECONCILE_ERRORS: Final = Counter(
    "quilt_operator_reconcile_errors_total", "Reconciliations that failed and are retried.", ["kind"]
)
QUEUE: Final = Gauge("quilt_operator_queue_depth", "Objects waiting to be reconciled.")
WATCH_AGE: Final = Gauge(
    "quilt_operator_watch_age_seconds", "Since a watch last brought anything.", ["watch"]
)
API_WRITES: Final = Counter(
    "quilt_operator_api_writes_total", "Writes to the API server by verb, resource and outcome.",
    ["verb", "resource", "code"],
)  # fmt: skip
PEERS: Final = Gauge(
    "quilt_operator_peers", "Pods with an address, policies, their selectors, and addresses of QuiltPeers.",
    ["what"],
)  # fmt: skip
PEERS_WAITING: Final = Gauge("quilt_operator_peers_waiting", "QuiltPeers that wait for being written.")
PEERS_ERRORS: Final = Counter(
    "quilt_operator_peers_errors_total", "Writes of QuiltPeers that failed and are tried again."
)
EVENTS_DROPPED: Final = Counter(
    "quilt_operator_events_dropped_total", "Kubernetes Events not sent because too many were due."
)
