"""Counters of multicast; names start with `quilt_multicast_`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

# Seconds: from the kernel's notification to the kernel's table it is a millisecond or less.
# Few, as each is a series of every node.
_BUCKETS = (0.001, 0.01, 0.1, 1.0)


class MulticastMetrics:
    """All metrics of the multicast part of one agent."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = r = registry
        self.enabled = Gauge(
            "quilt_multicast_enabled", "1 while multicast crosses the mesh here.", registry=r
        )
        self.groups = Gauge("quilt_multicast_groups", "Groups with members.", ["where"], registry=r)
        self.flows = Gauge("quilt_multicast_flows", "Sources and groups in the kernel's table.", registry=r)
        self.copies = Gauge(
            "quilt_multicast_copies", "Entries of the VXLAN device: groups times nodes.", registry=r
        )
        self.datagrams = Counter(
            "quilt_multicast_datagrams", "Datagrams between agents.", ["direction", "kind"], registry=r
        )
        self.refused_datagrams = Counter(
            "quilt_multicast_refused_datagrams", "Datagrams that were refused.", ["reason"], registry=r
        )
        self.upcalls = Counter("quilt_multicast_upcalls", "Packets that the kernel asked about.", registry=r)
        self.refused_flows = Counter("quilt_multicast_refused_flows", "Flows over a limit.", registry=r)
        self.refused_joins = Gauge(
            "quilt_multicast_refused_members", "Members that do not count now.", registry=r
        )
        self.repairs = Counter(
            "quilt_multicast_drift_repairs", "Entries repaired that others changed.", ["kind"], registry=r
        )
        self.failures = Counter(
            "quilt_multicast_write_failures", "Entries that the kernel refused.", registry=r
        )
        self.join_seconds = Histogram(
            "quilt_multicast_join_duration_seconds",
            "From another node's word of a member to the kernel's table being right.",
            buckets=_BUCKETS,
            registry=r,
        )
        self.pass_seconds = Histogram(
            "quilt_multicast_pass_duration_seconds", "Duration of passes.", buckets=_BUCKETS, registry=r
        )

    def serve_traffic(self, read: Callable[[], tuple[int, int]]) -> None:
        """Serve (packets, bytes) as read at each scrape; `quiltctl multicast routes` has them by flow."""
        self._registry.register(_Traffic(read))


class _Traffic(Collector):
    def __init__(self, read: Callable[[], tuple[int, int]]) -> None:
        self._read = read

    def describe(self) -> Iterable[CounterMetricFamily]:
        return ()

    def collect(self) -> Iterable[CounterMetricFamily]:
        packets, octets = self._read()
        return (
            CounterMetricFamily("quilt_multicast_packets", "Packets that crossed this node.", packets),
            CounterMetricFamily("quilt_multicast_bytes", "Bytes that crossed this node.", octets),
        )
