"""What the node's kernel counts and how full its tables are, read when Prometheus asks.

The runtime owns the tables whose drops these are, and is there where the agent is not. What cannot be read
has no series meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from socket import AF_INET

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from quilt_crds.names import BRIDGE_DEVICE
from quilt_netlink import counters
from quilt_netlink.nftsets import BRIDGE, INET
from quilt_runtime.core import drops, policy
from quilt_runtime.core.nftables import TABLE

_TABLES = (
    (INET, TABLE, drops.FIREWALL),
    (BRIDGE, TABLE, drops.GUARD),
    (INET, policy.TABLE, drops.POLICY),
)


class KernelMetrics(Collector):
    """`overlay` returns the overlay device's name; `sysctls` is the folder of the net sysctls."""

    def __init__(self, overlay: Callable[[], str], sysctls: Path) -> None:
        self._overlay = overlay
        self._sysctls = sysctls

    def describe(self) -> Iterable[Metric]:
        """Nothing: that would read the kernel."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read everything; the same series at any number of peers."""
        for read in (self._devices, _dropped, self._conntrack, _neighbours):
            with suppress(OSError, ValueError):
                yield from read()

    def _devices(self) -> list[Metric]:
        found = counters.devices()
        overlay, bridge = found.get(self._overlay()), found.get(BRIDGE_DEVICE)
        families: list[Metric] = []
        for device, what, name, text in (
            (overlay, "bytes", "quilt_runtime_overlay_bytes", "Bytes of the overlay's device."),
            (overlay, "packets", "quilt_runtime_overlay_packets", "Packets of the overlay's device."),
            (
                overlay,
                "errors",
                "quilt_runtime_overlay_errors",
                "Packets with an error at the overlay's device.",
            ),
            (overlay, "drops", "quilt_runtime_overlay_drops", "Packets that the overlay's device dropped."),
            (bridge, "bytes", "quilt_runtime_bridge_bytes", "Bytes of the pods' bridge."),
            (bridge, "packets", "quilt_runtime_bridge_packets", "Packets of the pods' bridge."),
            (bridge, "errors", "quilt_runtime_bridge_errors", "Packets with an error at the pods' bridge."),
            (bridge, "drops", "quilt_runtime_bridge_drops", "Packets that the pods' bridge dropped."),
        ):
            family = CounterMetricFamily(name, text, labels=["direction"])
            for direction, traffic in zip((drops.IN, drops.OUT), device or (), strict=False):
                family.add_metric([direction], getattr(traffic, what))
            families.append(family)
        return families

    def _conntrack(self) -> list[Metric]:
        used, most = (
            int((self._sysctls / "netfilter" / f"nf_conntrack_{name}").read_text())
            for name in ("count", "max")
        )
        return [
            GaugeMetricFamily("quilt_runtime_conntrack_entries", "Connections tracked.", used),
            GaugeMetricFamily("quilt_runtime_conntrack_limit", "Connections that can be tracked.", most),
        ]


def _dropped() -> list[Metric]:
    packets = CounterMetricFamily(
        "quilt_runtime_dropped_packets",
        "Packets that the mesh's tables dropped, on their way in (to the node or its pods) or out of pods.",
        labels=["reason", "direction"],
    )
    for family, table, reasons in _TABLES:
        found = {one.name: one.packets for one in counters.nft_counters(family, table)}
        for reason, direction in reasons.items():
            packets.add_metric([reason, direction], found.get(reason, 0))
    return [packets]


def _neighbours() -> list[Metric]:
    entries = GaugeMetricFamily(
        "quilt_runtime_neighbour_entries",
        "Neighbours that the host's kernel knows, in all namespaces; permanent ones, as the overlay's, too.",
        labels=["family"],
    )
    limit = GaugeMetricFamily(
        "quilt_runtime_neighbour_limit",
        "Neighbours that it may know, permanent ones not counted (gc_thresh3).",
        labels=["family"],
    )
    overflows = CounterMetricFamily(
        "quilt_runtime_neighbour_overflows", "Neighbours refused for that limit.", labels=["family"]
    )
    for table in counters.neighbour_tables():
        family = ["IPv4" if table.family == AF_INET else "IPv6"]
        entries.add_metric(family, table.entries)
        limit.add_metric(family, table.limit)
        overflows.add_metric(family, table.overflows)
    return [entries, limit, overflows]
