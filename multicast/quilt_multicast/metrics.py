"""Counters of multicast; names start with `quilt_multicast_`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

# Seconds: from the kernel's notification to the kernel's table it is a millisecond or less.
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


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
            "quilt_multicast_join_seconds",
            "From another node's word of a member to the kernel's table being right.",
            buckets=_BUCKETS,
            registry=r,
        )
        self.pass_seconds = Histogram(
            "quilt_multicast_pass_seconds", "Duration of passes.", buckets=_BUCKETS, registry=r
        )

    def serve_group_counters(self, read: Callable[[], Iterable[tuple[str, int, int]]]) -> None:
        """Serve (group, packets, bytes) as read at each scrape."""
        self._registry.register(_GroupCounters(read))


class _GroupCounters(Collector):
    def __init__(self, read: Callable[[], Iterable[tuple[str, int, int]]]) -> None:
        self._read = read

    def describe(self) -> Iterable[CounterMetricFamily]:
        return ()

    def collect(self) -> Iterable[CounterMetricFamily]:
        packets = CounterMetricFamily(
            "quilt_multicast_group_packets", "Packets that crossed this node.", labels=["group"]
        )
        octets = CounterMetricFamily(
            "quilt_multicast_group_bytes", "Bytes that crossed this node.", labels=["group"]
        )
        for group, count, size in self._read():
            packets.add_metric([group], count)
            octets.add_metric([group], size)
        return (packets, octets)
