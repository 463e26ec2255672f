"""`helm upgrade` with a changed value rolls every node without losing a packet between pods."""

from __future__ import annotations

import time

from tests.support.mesh import CHART, NAMESPACE, Mesh, Pod, all_up, until

BEFORE, AFTER, RATE = 10, 10, 200


def test_an_upgrade_loses_no_packet(mesh: Mesh, pods: dict[str, Pod]) -> None:
    before = {pod["metadata"]["uid"] for pod in mesh.get(*NODE_PODS)["items"]}
    with mesh.flow(list(pods.values()), RATE) as flow:
        time.sleep(BEFORE)
        mesh.cluster.helm(
            "upgrade", "quilt", str(CHART), "-n", NAMESPACE, "--reuse-values", "--set", "logLevel=debug"
        )
        mesh.kubectl("rollout", "status", "-n", NAMESPACE, "daemonset/quilt-mesh", "--timeout=240s")
        time.sleep(AFTER)
    after = {pod["metadata"]["uid"] for pod in mesh.get(*NODE_PODS)["items"]}
    assert not before & after
    flow.assert_complete(at_least=(BEFORE + AFTER) * RATE)
    until("every node is in sync", lambda: all_up(mesh), timeout=60, every=0.5)


NODE_PODS = ("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=node")


def test_the_chart_tests_itself(mesh: Mesh) -> None:
    mesh.cluster.helm("test", "quilt", "-n", NAMESPACE, "--timeout", "120s")
