"""`helm uninstall` leaves pods deletable, and the documented clean-up leaves a clean host."""

from __future__ import annotations

from tests.support.commands import clean
from tests.support.mesh import CHART, NAMESPACE, Mesh, Pod, install, until


def test_uninstall_leaves_pods_deletable_and_clean_up_a_clean_host(mesh: Mesh, pods: dict[str, Pod]) -> None:
    mesh.cluster.helm("uninstall", "quilt", "-n", NAMESPACE, "--wait", "--timeout", "120s")
    crds = mesh.kubectl("get", "crd", "-o", "name")
    assert "quiltsubnets.quilt.io" in crds, "helm uninstall keeps the definitions and with them the claims"
    mesh.delete_pods(*(pod.name for pod in pods.values()))
    # Helm waits for what it made; that includes a DaemonSet, not the Pods that this made.
    chart_pods = ("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component in (node, operator)")
    until("no Pod of the chart is left", lambda: not mesh.get(*chart_pods)["items"], timeout=60)
    for node in mesh.nodes():
        clean(mesh, node)


def test_it_can_be_installed_again(mesh: Mesh) -> None:
    assert CHART.exists()
    install(mesh)
    names = {f"back-{node}": node for node in mesh.nodes()[:2]}
    first, second = mesh.start_pods(names).values()
    until("the pods reach each other", lambda: mesh.http(first, second.ip) == second.name, timeout=120)
