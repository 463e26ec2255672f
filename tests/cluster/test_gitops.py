"""The chart under tools that apply it again and again: what is not new changes nothing, and they can wait.

QUILT_GITOPS_SECONDS is how long they go on, 10 where it is not set.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import pytest

from quilt_crds.names import QUILTNETWORK
from tests.support.controlplane import CHART, NAMESPACE, ControlPlane, Json
from tests.support.kstatus import kstatus
from tests.support.operators import INSTALLED, Fleet, Operator, eventually, names

SECONDS = float(os.environ.get("QUILT_GITOPS_SECONDS", "10"))
pytestmark = pytest.mark.timeout(300 + SECONDS)
NETWORK = QUILTNETWORK.path("default")
# Others write these all the time; whether somebody changed what they ask for is their generation.
RUN_BY_OTHERS = {"DaemonSet", "Deployment"}


def test_who_waits_for_the_network_waits_for_what_was_asked(plane: ControlPlane, operator: Operator) -> None:
    """`kubectl wait` as the documents have it; after a change of the values until they are in force."""
    kubectl = plane.cluster.kubectl
    ready = ("wait", "--for=condition=Ready", "quiltnetwork/default", "--timeout=60s")
    assert "condition met" in kubectl(*ready)
    before = plane.admin.get(NETWORK).ok()["metadata"]["generation"]
    plane.install(*INSTALLED, "--set=network.reuseGracePeriod=9s")
    try:
        kubectl("wait", "--for=jsonpath={.spec.reuseGracePeriod}=9s", "quiltnetwork/default", "--timeout=60s")
        now = plane.admin.get(NETWORK).ok()["metadata"]["generation"]
        assert now > before
        seen = f"--for=jsonpath={{.status.observedGeneration}}={now}"
        kubectl("wait", seen, "quiltnetwork/default", "--timeout=60s")
        assert "condition met" in kubectl(*ready)
    finally:
        plane.install(*INSTALLED)


def test_a_tool_that_waits_by_kstatus_sees_an_edit_in_progress_until_it_was_seen(
    plane: ControlPlane, operator: Operator
) -> None:
    """By the library itself; the operator is away for a moment, so that there is something to wait for."""

    def current() -> bool:
        return kstatus(plane.admin.get(NETWORK).ok()) == "Current"

    eventually(current, "the network is Current")
    operator.kill()
    try:
        # A value that it cannot have from elsewhere: an edit that changes nothing would not be one.
        edited = plane.admin.merge(NETWORK, {"spec": {"reuseGracePeriod": "11s"}}).ok()
        assert kstatus(edited) == "InProgress"
    finally:
        operator.restart()
    eventually(operator.leads, "the operator leads", 60)
    eventually(current, "the network is Current again")


def manifests(plane: ControlPlane) -> str:
    """The chart as it is installed, rendered."""
    return plane.cluster.helm("template", "quilt", str(CHART), "-n", NAMESPACE, "--no-hooks", *INSTALLED)


def synchronized_by_argo_cd(plane: ControlPlane) -> None:
    """Render, and apply under a field manager of its own."""
    manager = ("--server-side", "--force-conflicts", "--field-manager=argocd-controller")
    plane.cluster.kubectl("apply", *manager, "-f", "-", stdin=manifests(plane))


def synchronized_by_flux(plane: ControlPlane) -> None:
    """Upgrade the release."""
    plane.cluster.helm("upgrade", "quilt", str(CHART), "-n", NAMESPACE, *INSTALLED)


def versions(plane: ControlPlane) -> dict[str, str]:
    """{object of the chart: what differs after any change of it}."""
    items = json.loads(plane.cluster.kubectl("get", "-f", "-", "-o", "json", stdin=manifests(plane)))["items"]
    return {f"{item['kind']}/{item['metadata']['name']}": _version(item) for item in items}


def _version(item: Json) -> str:
    meta = item["metadata"]
    return str(meta["generation"] if item["kind"] in RUN_BY_OTHERS else meta["resourceVersion"])


@pytest.mark.parametrize("synchronized", [synchronized_by_flux, synchronized_by_argo_cd])
def test_a_loop_that_applies_the_chart_changes_nothing(
    plane: ControlPlane, operator: Operator, fleet: Fleet, synchronized: Callable[[ControlPlane], None]
) -> None:
    """Neither what is applied nor what the operator makes of it, while nodes are in the mesh."""
    fleet.join(*names(3))
    for name in names(3):
        eventually(lambda name=name: fleet.condition(name, "Ready") == "True/InMesh", f"{name} is Ready")
    eventually(lambda: fleet.network()["status"]["subnets"]["allocated"] == 3, "the network knows")
    synchronized(plane)
    first, network, written = versions(plane), fleet.network(), operator.writes()
    rounds, end = 0, time.monotonic() + SECONDS
    while rounds < 3 or time.monotonic() < end:
        synchronized(plane)
        assert versions(plane) == first
        rounds += 1
    assert fleet.network() == network
    assert operator.writes() == written, "the operator writes nothing"
