"""Counters of the control plane, and their way into the agent's metrics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

# All names exist from the start: a graph of what never happened is a line at zero.
NAMES = (
    "requests",
    "request_errors",
    "peers_refused",
    "connections_refused",
    "events_published",
    "events_delivered",
    "events_missed",
    "hellos_received",
    "joins_accepted",
    "prunes_accepted",
    "stranger_refused",
    "rpf_refused",
    "not_for_us",
    "pim_invalid",
    "pim_ignored",
    "pim_dropped",
    "rpf_queries",
    "rpf_cache_hits",
    "rpf_cache_misses",
    "rpf_timeouts",
    "rpf_invalid",
    "rpf_unreachable",
    "rpf_no_route",
    "rpf_served",
    "sources_refused",
)


class Counters(dict[str, int]):
    """Counts by name; a name that is not in NAMES is a mistake and raises KeyError."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(NAMES, 0))


class ControlCollector(Collector):
    """`quilt_multicast_control_total{what=…}`."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Read everything at the time of the scrape."""
        family = CounterMetricFamily("quilt_multicast_control", "What happened, by kind.", labels=["what"])
        for what, count in self._counters.items():
            family.add_metric([what], count)
        yield family
