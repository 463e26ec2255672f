"""The product's images on Debian 13, whose Python is the one of the Containerfile's own base, in two nodes.

This Python refuses a certificate authority without key identifiers unless configured otherwise; the cluster
has such a one. The nodes have what Debian 12's have not: kube-proxy in iptables mode.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest

from quilt_devcluster import product
from tests.support.commands import quiltctl
from tests.support.fresh import NEWER_DEBIAN, NEWER_PYTHON, fresh_cluster
from tests.support.mesh import NAMESPACE, Mesh, Pod, all_up, install_chart, until

NODE_IMAGE = "quilt-mesh-node:dev"


@pytest.fixture(scope="module")
def newer() -> Iterator[Mesh]:
    archives = product.build(lambda _: None, NEWER_DEBIAN)
    with fresh_cluster("debian-13", nodes=2, images=archives, proxy_mode="iptables") as cluster:
        mesh = Mesh(cluster)
        install_chart(mesh)
        yield mesh


@pytest.fixture(scope="module")
def far_pods(newer: Mesh) -> list[Pod]:
    """A traffic pod on each node."""
    return list(newer.start_pods({f"on-{node}": node for node in newer.nodes()}).values())


@pytest.mark.timeout(1200)  # builds the images
def test_agents_and_operator_of_the_newer_python_reach_the_api_server(newer: Mesh) -> None:
    """u1: Images on Debian 13 join: agent and operator accept an authority without key identifiers."""
    until("every node is Up and Ready", lambda: all_up(newer), timeout=240, every=0.5)
    for component, container in (("node", "agent"), ("operator", "operator")):
        pod = newer.system_pod(component)["metadata"]["name"]
        inside = ("exec", "-n", NAMESPACE, pod, "-c", container, "--")
        assert newer.kubectl(*inside, "/opt/quilt/bin/python3", "--version").startswith(NEWER_PYTHON)


def test_pods_of_both_nodes_reach_each_other(newer: Mesh, far_pods: list[Pod]) -> None:
    for source, target in itertools.permutations(far_pods, 2):
        newer.ping(source, target.ip, payload=1422)
        assert newer.http(source, target.ip) == target.name


def test_a_service_answers_through_iptables(newer: Mesh, far_pods: list[Pod]) -> None:
    spec = {"selector": {"app": "traffic"}, "ports": [{"port": 8080}]}
    newer.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "traffic"}, "spec": spec})
    names = {pod.name for pod in far_pods}
    for pod in far_pods:

        def answers(pod: Pod = pod) -> bool:
            return newer.http(pod, "traffic.default.svc.cluster.local") in names

        until(f"{pod.name} reaches the Service by name", answers, timeout=60, every=0.5)
    assert "KUBE-SERVICES" in newer.on(newer.nodes()[0], "iptables-save", "-t", "nat")


def test_the_check_passes(newer: Mesh) -> None:
    def passed() -> bool:
        done = quiltctl(newer, "check", "-o", "json")
        return done.returncode == 0 and json.loads(done.stdout)["summary"]["fail"] == 0

    until("the check passes", passed, timeout=60, every=1)


def test_the_command_line_of_the_newer_python_reaches_the_api_server(newer: Mesh) -> None:
    """u1: The command line on Debian 13 accepts an authority without key identifiers, as kubectl does."""
    config = json.loads(newer.cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://{newer.cluster.node_ip(newer.nodes()[0])}:6443"
    newer.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "admin"},
            "stringData": {"config": json.dumps(config)},
        },
        command_line_pod("--kubeconfig=/admin/config", "status"),
    )

    def ended() -> str | None:
        phase: str = newer.get("pod", "command-line")["status"]["phase"]
        return phase if phase in ("Succeeded", "Failed") else None

    phase = until("the command line has ended", ended, timeout=60, every=0.5)
    output = newer.kubectl("logs", "command-line")
    assert phase == "Succeeded", output
    assert all(node in output for node in newer.nodes())


def command_line_pod(*arguments: str) -> dict[str, object]:
    """A pod that runs `quiltctl` of the node image once, with the Secret `admin` under /admin."""
    container = {
        "name": "quilt",
        "image": NODE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["quiltctl", *arguments],
        "volumeMounts": [{"name": "admin", "mountPath": "/admin"}],
    }
    spec = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": "admin", "secret": {"secretName": "admin"}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "command-line"}, "spec": spec}


def test_the_charts_own_test_passes(newer: Mesh) -> None:
    """u1: `helm test` on Debian 13 accepts an authority without key identifiers."""
    newer.cluster.helm("test", "quilt", "-n", NAMESPACE, "--timeout", "120s")
