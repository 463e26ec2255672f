"""How many series a node has: few, and as many at 5,000 peers as at 3."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from quilt_multicast.core.wire import Body
from quilt_multicast.metrics import MulticastMetrics
from quilt_multicast.view import MulticastState
from quilt_pim.counters import ControlCollector, Counters
from quilt_pods.metrics import PolicyMetrics
from quilt_probes.core.book import Book
from quilt_probes.metrics import ProbesMetrics
from quilt_proto import node_pb2, policy_pb2, runtime_pb2
from quilt_runtime.core import cni
from quilt_runtime.kernel.counters import KernelMetrics
from quilt_runtime.metrics import Metrics
from tests.support.agent_doubles import eventually
from tests.support.agent_scene import fake_rig

MOST = 250
"""Of agent and runtime together."""


def series(registry: CollectorRegistry) -> int:
    """How many samples a scrape has."""
    return sum(not line.startswith("#") for line in generate_latest(registry).decode().splitlines())


def add_features(registry: CollectorRegistry, peers: int) -> None:
    """What multicast, policies and probes add to an agent's metrics, with every label that they know."""
    multicast, state = MulticastMetrics(registry), MulticastState()
    for kind in get_args(Body):
        for way in ("sent", "received"):
            multicast.datagrams.labels(way, kind.__name__)
    for reason in ("stranger", "rate", "key", "malformed"):
        multicast.refused_datagrams.labels(reason)
    for where in ("local", "remote"):
        multicast.groups.labels(where)
    multicast.repairs.labels("copy")
    multicast.serve_traffic(state.traffic)
    registry.register(ControlCollector(Counters()))
    PolicyMetrics(registry)
    book = Book("self", Random(0), lambda: 0)
    book.set_peers({f"n{n}": [f"198.18.{n // 250}.{n % 250}"] for n in range(peers)}, 0, 0.0)
    ProbesMetrics(registry, lambda: book)


def runtime() -> CollectorRegistry:
    """A runtime's metrics after every call and verb, of which some failed, and some repairs."""
    metrics = Metrics()
    for file in (node_pb2, policy_pb2, runtime_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                metrics.rpcs.labels(method=method.name)
                metrics.rpc_failures.labels(method=method.name)
    for verb in cni.VERBS:
        metrics.cni.labels(verb=verb)
    for code in (cni.TRY_AGAIN_LATER, cni.EXHAUSTED):
        metrics.cni_failures.labels(verb="ADD", code=code)
    for kind in ("table", "policies", "guard", "links", "sysctls", "forward"):
        metrics.drift_repairs.labels(kind=kind)
    metrics.registry.register(KernelMetrics(lambda: "lo", Path("/proc/sys/net")))
    return metrics.registry


@pytest.mark.parametrize("peers", [3, 5000])
async def test_a_node_has_no_more_series_than_it_may_at_any_size_of_the_mesh(
    tmp_path: Path, peers: int
) -> None:
    async with fake_rig(tmp_path) as rig:
        rig.network(clusterCIDRs=["10.0.0.0/8"])
        rig.api.claim("10.42.1.0/24", "self", "198.18.0.1")
        for n in range(peers):
            address = f"198.18.{n // 250}.{n % 250 + 2}"
            rig.api.claim(f"10.{n // 250}.{n % 250}.0/24", f"n{n}", address)
        await rig.start()
        await eventually(lambda: rig.agent.reconciler.verified)
        assert rig.counter("peers_in_sync") == peers
        add_features(rig.agent.metrics.registry, peers)
        rig.agent.report.metrics()
        assert series(rig.agent.metrics.registry) + series(runtime()) <= MOST
