"""What the chart decides of the network: applied once, compared without order, a hand's edit answered."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from quilt_crds.names import QUILTNETWORK
from quilt_operator.api.client import Client
from quilt_operator.api.events import EventRecorder
from quilt_operator.core.chart import covers, merged
from quilt_operator.heartbeats import Heartbeats
from quilt_operator.network import NetworkReconciler
from quilt_operator.world import World

CHART = {
    "clusterCIDRs": ["10.42.0.0/16"],
    "multicast": {"enabled": True, "namespaces": ["media", "tv"]},
}


class Bench:
    """A network reconciler, an API server that applies, and the Events that were sent."""

    def __init__(self) -> None:
        self.applied: list[dict[str, Any]] = []
        self.kept: list[str] = []
        self.events: list[tuple[str, str]] = []
        self.chart: dict[str, Any] = CHART
        self._version = 1
        self.world = World("default", lambda name: None, lambda: None)
        self.network = NetworkReconciler(
            self.world,
            cast(Client, self),
            cast(Heartbeats, None),
            cast(EventRecorder, self),
            "quilt-system",
        )

    def note(self, about: object, type_: str, reason: str, message: str) -> None:
        self.events.append((reason, message))

    async def find(self, path: str) -> dict[str, Any]:
        return {"data": {"network.json": json.dumps(self.chart)}}

    async def apply_network_spec(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        self.applied.append(spec)
        multicast = spec["multicast"]
        namespaces = multicast["namespaces"] + self.kept
        return self._raw({**spec, "multicast": {**multicast, "namespaces": namespaces}})

    def edit(self, namespaces: list[str]) -> None:
        """Change the network by hand."""
        spec = {**CHART, "multicast": {"enabled": True, "fastLeave": True, "namespaces": namespaces}}
        self.world.observe(QUILTNETWORK.plural, self._raw(spec))

    def namespaces(self) -> list[str]:
        return list(self.world.network_raw["spec"]["multicast"]["namespaces"])

    async def look(self, times: int = 5) -> None:
        for _ in range(times):
            await self.network.follow_chart()

    def _raw(self, spec: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        meta = {"name": "default", "uid": "u", "resourceVersion": str(self._version)}
        return {"metadata": meta, "spec": spec}


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.look()
    assert len(made.applied) == 1, "the network is made"
    made.applied.clear()
    return made


async def test_another_order_of_namespaces_is_no_change(bench: Bench) -> None:
    """u13: The namespaces of multicast are compared as a set: another order is left alone."""
    bench.edit(["tv", "media"])
    await bench.look()
    assert not bench.applied
    assert not bench.events


def test_another_order_of_underlay_networks_is_a_change() -> None:
    live = {"underlay": {"interface": "", "cidrs": ["192.0.2.0/24", "2001:db8::/32"]}}
    other = {"underlay": {"interface": "", "cidrs": ["2001:db8::/32", "192.0.2.0/24"]}}
    assert covers(live, live)
    assert not covers(live, other)
    assert merged(live, other) == other


async def test_namespaces_changed_by_hand_are_taken_back_once_and_an_event_says_so(bench: Bench) -> None:
    """u13: A hand's edit of what the chart decides is taken back by one apply; an Event names both values."""
    bench.edit(["video"])
    await bench.look()
    assert len(bench.applied) == 1
    assert bench.namespaces() == ["media", "tv"]
    assert [reason for reason, _ in bench.events] == ["HandEditUndone"]
    message = bench.events[0][1]
    assert 'multicast.namespaces was ["video"], the chart says ["media", "tv"]' in message


async def test_what_an_apply_does_not_change_is_not_applied_for_ever(bench: Bench) -> None:
    """u13: Where the API server keeps a foreign entry beside the chart's, it is applied once."""
    bench.kept = ["video"]
    bench.edit(["media", "tv", "video"])
    await bench.look()
    assert len(bench.applied) == 1
    bench.edit(["video"])
    await bench.look()
    assert len(bench.applied) == 2, "another edit is looked at again"


async def test_a_change_of_the_chart_is_no_hands_edit(bench: Bench) -> None:
    bench.chart = {**CHART, "multicast": {"enabled": True, "namespaces": ["news"]}}
    await bench.look()
    assert bench.namespaces() == ["news"]
    assert not bench.events
