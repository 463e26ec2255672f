"""Metrics of the probes, the same few series whatever the size of the mesh; names start `quilt_probes_`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import fmean, median

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from quilt_probes.core.book import Book, worse
from quilt_probes.core.link import FAILING, OK, UNKNOWN


class ProbesMetrics:
    """`book()` is read at each scrape; None: this node does not probe."""

    def __init__(self, registry: CollectorRegistry, book: Callable[[], Book | None]) -> None:
        self.sent = Counter("quilt_probes_sent", "Probes sent to peers.", registry=registry)
        self.received = Counter("quilt_probes_received", "Probes received from peers.", registry=registry)
        self.refused = Counter(
            "quilt_probes_refused", "Datagrams that were no peer's probe.", registry=registry
        )
        registry.register(_Paths(book))


class _Paths(Collector):
    def __init__(self, book: Callable[[], Book | None]) -> None:
        self._book = book

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        book = self._book()
        links = list(book.links.values()) if book else []
        peers = GaugeMetricFamily(
            "quilt_probes_peers", "Peers that are probed, by the worse direction.", labels=["state"]
        )
        states = [worse(link) for link in links]
        for state in (OK, FAILING, UNKNOWN):
            peers.add_metric([state], states.count(state))
        narrow = GaugeMetricFamily(
            "quilt_probes_narrow_peers",
            "Peers to which packets of full size are lost and smaller ones are not.",
            value=sum(link.narrow for link in links),
        )
        ratio = GaugeMetricFamily(
            "quilt_probes_loss_ratio",
            "Probes lost in the last minute, 0 to 1, mean of the peers that answer or fail.",
            labels=["direction"],
        )
        known = [link for link, state in zip(links, states, strict=True) if state != UNKNOWN]
        ratio.add_metric(["in"], fmean([link.loss_in for link in known] or [0.0]))
        ratio.add_metric(["out"], fmean([link.loss_out for link in known] or [0.0]))
        times = [link.round_trip for link in links if link.times]
        measured = [seconds for seconds in times if seconds is not None] or [0.0]
        trip = GaugeMetricFamily(
            "quilt_probes_round_trip_seconds",
            "Time to a peer and back, of its median in the last minute: over the peers.",
            labels=["peers"],
        )
        trip.add_metric(["median"], median(measured))
        trip.add_metric(["slowest"], max(measured))
        return (peers, narrow, ratio, trip)
