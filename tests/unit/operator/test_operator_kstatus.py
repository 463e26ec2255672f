"""The status of a QuiltNetwork as kstatus reads it, the library by which Flux waits."""

from __future__ import annotations

from typing import Any, cast

import pytest

from quilt_crds.names import API_VERSION, QUILTNETWORK, Resource
from quilt_operator.api.client import Client
from quilt_operator.api.events import EventRecorder
from quilt_operator.core.health import Guard
from quilt_operator.heartbeats import Heartbeats
from quilt_operator.network import NetworkReconciler
from quilt_operator.workqueue import Request
from quilt_operator.world import World
from tests.support.kstatus import kstatus


class Cluster:
    """An API server with one QuiltNetwork, which the operator reads and whose status it writes."""

    def __init__(self) -> None:
        self.item: dict[str, Any] = {
            "apiVersion": API_VERSION,
            "kind": QUILTNETWORK.kind,
            "metadata": {"name": "default", "uid": "u", "resourceVersion": "1", "generation": 1},
            "spec": {"clusterCIDRs": ["10.42.0.0/16"]},
        }
        self.guard = Guard()
        self.writes = 0
        self.events: list[str] = []
        self.world = World("default", changed=lambda name: None, replanned=lambda: None)
        self.operator = NetworkReconciler(
            self.world,
            cast(Client, self),
            cast(Heartbeats, self),
            cast(EventRecorder, self),
            "quilt-system",
        )

    def edit(self, spec: dict[str, Any]) -> None:
        meta = self.item["metadata"]
        version = str(int(meta["resourceVersion"]) + 1)
        meta = {**meta, "resourceVersion": version, "generation": meta["generation"] + 1}
        self.item = {**self.item, "metadata": meta, "spec": {**self.item["spec"], **spec}}

    async def look(self) -> None:
        """The operator sees the network and makes its status right."""
        self.world.observe(QUILTNETWORK.plural, self.item)
        await self.operator(Request("network", "default"))

    def note(self, about: object, type_: str, reason: str, message: str) -> None:
        self.events.append(reason)

    async def find(self, path: str) -> None:
        return None

    async def service_cidrs(self) -> tuple[str, ...]:
        return ()

    async def apply_status(
        self, kind: Resource, name: str, uid: str, status: dict[str, Any]
    ) -> dict[str, Any]:
        self.writes += 1
        meta = {
            **self.item["metadata"],
            "resourceVersion": str(int(self.item["metadata"]["resourceVersion"]) + 1),
        }
        self.item = {**self.item, "metadata": meta, "status": status}
        return self.item

    def ready(self) -> dict[str, Any]:
        return next(one for one in self.item["status"]["conditions"] if one["type"] == "Ready")


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_an_edit_is_in_progress_until_it_was_seen(cluster: Cluster) -> None:
    """D5: `observedGeneration` is in the status and in every condition, and follows the spec."""
    await cluster.look()
    assert kstatus(cluster.item) == "Current"
    cluster.edit({"clusterCIDRs": ["10.42.0.0/16", "10.43.0.0/16"]})
    assert kstatus(cluster.item) == "InProgress"
    await cluster.look()
    assert kstatus(cluster.item) == "Current"
    assert cluster.item["status"]["observedGeneration"] == 2
    assert {one["observedGeneration"] for one in cluster.item["status"]["conditions"]} == {2}


async def test_nothing_is_written_when_nothing_changed(cluster: Cluster) -> None:
    await cluster.look()
    await cluster.look()
    assert cluster.writes == 1


async def test_a_spec_that_only_a_newer_operator_understands_stays_in_progress(cluster: Cluster) -> None:
    await cluster.look()
    cluster.edit({"nodePrefixLength": 99})
    await cluster.look()
    assert kstatus(cluster.item) == "InProgress"


async def test_what_the_api_server_refused_is_not_ready_and_one_event(cluster: Cluster) -> None:
    await cluster.look()
    cluster.operator.refused = "clusterCIDRs may only be extended"
    await cluster.look()
    assert kstatus(cluster.item) == "InProgress"
    ready = cluster.ready()
    assert (ready["status"], ready["reason"]) == ("False", "ChangeRefused")
    assert ready["message"] == "clusterCIDRs may only be extended"
    assert cluster.events == ["ChangeRefused"]
    cluster.operator.refused = ""
    await cluster.look()
    assert (cluster.ready()["status"], cluster.ready()["reason"]) == ("True", "Followed")
