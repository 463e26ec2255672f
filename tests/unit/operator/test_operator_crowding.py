"""Kubelets that may run more pods than their nodes' subnets have addresses for."""

from __future__ import annotations

from typing import Any, cast

import pytest

from quilt_crds.names import QUILTNETWORK, Resource
from quilt_operator.api.client import Client
from quilt_operator.api.events import EventRecorder
from quilt_operator.core.health import Guard
from quilt_operator.heartbeats import Heartbeats
from quilt_operator.network import NetworkReconciler
from quilt_operator.workqueue import Request
from quilt_operator.world import NODES, World


class Bench:
    """A network reconciler over an API server that accepts everything, and the Events that were sent."""

    def __init__(self, **spec: Any) -> None:
        self.events: list[tuple[str, str]] = []
        self.status: dict[str, Any] = {}
        self.policy: object = None
        self.guard = Guard()
        self.world = World("default", lambda name: None, lambda: None)
        self.network = NetworkReconciler(
            self.world,
            cast(Client, self),
            cast(Heartbeats, self),
            cast(EventRecorder, self),
            "quilt-system",
        )
        self._spec = {"clusterCIDRs": ["10.42.0.0/16"], **spec}
        self.world.observe(QUILTNETWORK.plural, self._raw(1))

    def host(self, name: str, pods: str, *cidrs: str) -> None:
        meta = {"name": name, "resourceVersion": "5"}
        raw = {"metadata": meta, "spec": {"podCIDRs": list(cidrs)}, "status": {"capacity": {"pods": pods}}}
        self.world.observe(NODES, raw)

    async def condition(self) -> dict[str, str]:
        """The condition about pods, after a look."""
        await self.network(Request("network", "default"))
        found = self.status.get("conditions", [])
        return next((item for item in found if item["type"] == "PodsFit"), {})

    def note(self, about: object, type_: str, reason: str, message: str) -> None:
        self.events.append((reason, message))

    async def find(self, path: str) -> None:
        return None

    async def service_cidrs(self) -> tuple[str, ...]:
        return ()

    async def apply_status(
        self, kind: Resource, name: str, uid: str, status: dict[str, Any]
    ) -> dict[str, Any]:
        self.status = status
        return {**self._raw(9), "status": status}

    def _raw(self, version: int) -> dict[str, Any]:
        return {
            "metadata": {"name": "default", "uid": "u", "resourceVersion": str(version)},
            "spec": self._spec,
        }


async def test_more_pods_than_addresses_are_a_condition_and_an_event_with_both_numbers() -> None:
    """u5: /26 subnets and kubelets of 110 pods: a condition and an Event of the network name 61 and 110."""
    bench = Bench(nodePrefixLength=26)
    for number in range(5):
        bench.host(f"n{number}", "110")
    condition = await bench.condition()
    assert (condition.get("status"), condition.get("reason")) == ("False", "MorePodsThanAddresses")
    assert "61 addresses for pods (/26)" in condition["message"]
    assert "110 on n0, 110 on n1, 110 on n2 and 2 more" in condition["message"]
    assert ("MorePodsThanAddresses", condition["message"]) in bench.events


async def test_pod_cidrs_of_kubernetes_are_looked_at_each() -> None:
    """u5: In ipam.mode kubernetes each node's own podCIDR decides whether its pods find addresses."""
    bench = Bench(ipam={"mode": "kubernetes"})
    bench.host("wide", "110", "10.42.1.0/24")
    bench.host("narrow", "110", "fd00::/64", "10.42.2.0/26")
    message = (await bench.condition()).get("message", "")
    assert "61 addresses for pods (/26)" in message
    assert "110 on narrow;" in message


@pytest.mark.parametrize(("length", "pods"), [(24, "110"), (25, "110"), (26, "61"), (26, ""), (26, "1e2")])
async def test_enough_addresses_are_no_news(length: int, pods: str) -> None:
    bench = Bench(nodePrefixLength=length)
    bench.host("n1", pods)
    assert (await bench.condition()).get("status") == "True"
    assert not bench.events
