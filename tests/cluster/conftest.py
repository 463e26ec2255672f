"""A real Kubernetes of three nodes with the chart installed, shared by the tests that need one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from quilt_devcluster import Cluster
from tests.support.controlplane import ControlPlane, control_plane
from tests.support.fresh import fresh_cluster
from tests.support.mesh import Mesh, Pod, all_up, install, until
from tests.support.node_life import led_from_elsewhere
from tests.support.operators import Fleet, Operator, eventually
from tests.support.operators import install as install_control_plane

# Control planes alone first; then the shared cluster (marked `shared`, so that `make test` runs it beside the
# others), from tests that leave it alone to those that end it.
ORDER = (
    "test_crds",
    "test_admission",
    "test_operator",
    "test_operator_claims",
    "test_operator_faults",
    "test_operator_kopf",
    "test_gitops",
    "test_rows_control_plane",
    "test_chart",
    "test_dual_stack",
    "test_debian_13",
    "test_prefix_lengths",
    "test_several_nics",
    "test_from_flannel",
    "test_cluster_like_peoples",
    "test_upgrade_versions",
    "test_release",
    "test_mesh",
    "test_contract",
    "test_cli",
    "test_drift",
    "test_pods_not_connected",
    "test_dataplane",
    "test_overlay_traffic",
    "test_webhooks",
    "test_runtime_matrix",
    "test_multicast",
    "test_probes",
    "test_policies",
    "test_trace",
    "test_sysdump",
    "test_prometheus",
    "test_faults",
    "test_lost_api_server",
    "test_operator_placing",
    "test_ui",
    "test_node_life",
    "test_backup",
    "test_upgrade",
    "test_uninstall",
)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        return ORDER.index(item.path.stem) if item.path.stem in ORDER else -1

    items.sort(key=rank)
    for item in items:
        if "mesh" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    """Three nodes, images loaded, chart installed, every QuiltNode Up.

    QUILT_TEST_CLUSTER names a running cluster to use, and to leave running, while one works on a test.
    """
    if name := os.environ.get("QUILT_TEST_CLUSTER"):
        mesh = Mesh(Cluster.attach(name))
        install(mesh)
        yield mesh
        return
    with fresh_cluster("test", nodes=3) as cluster:
        mesh = Mesh(cluster)
        install(mesh)
        yield mesh


@pytest.fixture(scope="session")
def pods(mesh: Mesh) -> dict[str, Pod]:
    """A traffic pod on each of the first three nodes: {node: pod}."""
    placed = {f"traffic-{node}": node for node in mesh.nodes()[:3]}
    return {pod.node: pod for pod in mesh.start_pods(placed).values()}


@pytest.fixture
def victim(mesh: Mesh, pods: dict[str, Pod]) -> str:
    """A node beside those that carry the shared pods."""
    node = next((node for node in mesh.nodes() if node not in pods), None) or mesh.cluster.add_node()
    until("every node is Up", lambda: all_up(mesh), timeout=120, every=0.5)
    led_from_elsewhere(mesh, node)
    return node


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """A control plane without nodes, the chart with short times installed."""
    with control_plane("operator") as plane:
        install_control_plane(plane)
        yield plane


@pytest.fixture(scope="module")
def operator(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator that leads."""
    with Operator(plane, tmp_path_factory.mktemp("operator"), "leader") as operator:
        eventually(operator.leads, "the operator leads", 60)
        yield operator


@pytest.fixture
def fleet(plane: ControlPlane, operator: Operator) -> Iterator[Fleet]:
    """Nodes that are gone after each test."""
    fleet = Fleet(plane)
    yield fleet
    fleet.close()
    fleet.clear(operator)
