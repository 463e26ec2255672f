"""A real Prometheus scrapes the cluster: faults are alerts and resolve, panels have data, metrics exist.

The alerts that are not planted here have their cause in tests/unit/helm/test_helm_alerts.py, as series.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from threading import Event

import pytest

from quilt_crds.names import BRIDGE_DEVICE
from tests.support.commands import quiltctl
from tests.support.mesh import Mesh, Pod, install, rolled_out, until
from tests.support.node_life import stopped
from tests.support.overlay_cut import cut
from tests.support.pages import ROOT
from tests.support.prometheus import Prometheus, queries, scraping

# Prometheus is built where it is not yet.
pytestmark = pytest.mark.timeout(1800)
MOST_SERIES = 250
# A busy machine is waited for; what it took is printed.
FIRES_S = 180.0
RESOLVES_S = 240.0
METRICS = re.findall(r"^\| `(quilt_\w+)", (ROOT / "docs/reference.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def prometheus(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """All features are on, so that each has its metrics."""
    features = ("policy", "multicast")
    install(mesh, "monitoring.expose=true", *(f"network.{name}.enabled=true" for name in features))
    try:
        with scraping(mesh, mesh.nodes()[0], tmp_path_factory.mktemp("prometheus")) as found:
            until("every agent and runtime is scraped", lambda: found.up() == 2 * len(mesh.nodes()), 60)
            yield found
    finally:
        install(mesh)


def test_a_node_has_at_most_so_many_series(mesh: Mesh, prometheus: Prometheus) -> None:
    counted = prometheus.by_node('count by (node) ({job=~"agent|runtime", __name__!~"up|scrape_.+"})')
    assert counted.keys() == set(mesh.nodes())
    print(counted)
    assert max(counted.values()) <= MOST_SERIES


def test_every_metric_of_the_documents_exists(prometheus: Prometheus) -> None:
    assert len(METRICS) > 50
    known = prometheus.metadata()
    # A counter's family has its name with and without `_total`, by the format.
    assert [name for name in METRICS if not {name, name.removesuffix("_total")} & known] == []


def runtime_hangs(mesh: Mesh, pods: dict[str, Pod]) -> AbstractContextManager[None]:
    return stopped(mesh, next(iter(pods)), "runtime")


@contextmanager
def node_is_silent(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[None]:
    """Neither agent nor kubelet renews a Lease."""
    node = list(pods)[2]
    with stopped(mesh, node, "agent"):
        mesh.cluster.stop_kubelet(node)
        try:
            yield
        finally:
            mesh.cluster.start_kubelet(node)


@contextmanager
def nobody_leads(mesh: Mesh, _: dict[str, Pod]) -> Iterator[None]:
    operator = ("-n", "quilt-system", "deployment/quilt-operator")
    replicas = mesh.get(*operator)["spec"]["replicas"]
    mesh.kubectl("scale", *operator, "--replicas=0")
    try:
        yield
    finally:
        mesh.kubectl("scale", *operator, f"--replicas={replicas}")


@contextmanager
def much_is_changed(mesh: Mesh, pods: dict[str, Pod]) -> Iterator[None]:
    """All the time a route of the agent's is removed, and the MTU of the runtime's bridge is changed."""
    node, other = list(pods)[:2]
    subnet = str(mesh.quiltnode(other)["subnets"][0])
    over = Event()

    def remove() -> None:
        while not over.wait(0.5):
            mesh.on(node, "ip", "route", "del", subnet, check=False)
            mesh.on(node, "ip", "link", "set", BRIDGE_DEVICE, "mtu", "1400")

    with ThreadPoolExecutor(1) as pool:
        pool.submit(remove)
        try:
            yield
        finally:
            over.set()


def path_is_cut(mesh: Mesh, pods: dict[str, Pod]) -> AbstractContextManager[None]:
    return cut(mesh, *list(pods)[:2])


Plant = Callable[[Mesh, dict[str, Pod]], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("plant", "alerts"),
    [
        pytest.param(path_is_cut, ("QuiltPathFailing",), id="overlay dropped one way"),
        pytest.param(runtime_hangs, ("QuiltRuntimeGone",), id="runtime hangs"),
        pytest.param(much_is_changed, ("QuiltDriftRepeats",), id="somebody changes what is the mesh's"),
        pytest.param(node_is_silent, ("QuiltAgentsUnresponsive", "QuiltNodesDown"), id="node is silent"),
        pytest.param(nobody_leads, ("QuiltNoLeader",), id="no operator"),
    ],
)
def test_an_alert_fires_from_its_cause_and_resolves(
    mesh: Mesh, pods: dict[str, Pod], prometheus: Prometheus, plant: Plant, alerts: tuple[str, ...]
) -> None:
    def is_quiet() -> bool:
        return not prometheus.firing()

    until("nothing fires before", is_quiet, RESOLVES_S, every=1)
    begun = time.monotonic()
    with plant(mesh, pods):
        until(f"{alerts} fire", lambda: prometheus.firing().issuperset(alerts), FIRES_S, every=0.5)
        print(f"{alerts} after {time.monotonic() - begun:.0f} s")
        if alerts == ("QuiltPathFailing",):
            assert " → " in quiltctl(mesh, "status").stdout
    until("nothing fires any more", is_quiet, RESOLVES_S, every=1)
    rolled_out(mesh)


def test_every_query_of_the_dashboards_has_data(prometheus: Prometheus) -> None:
    """Behind the alerts, so that every reason to count has been there once; a leader has just begun."""

    def all_have() -> bool:
        if silent := [title for title, expr in queries().items() if not prometheus.panel(expr)]:
            raise KeyError(*silent)
        return True

    until("every panel has data", all_have, RESOLVES_S, every=2)
