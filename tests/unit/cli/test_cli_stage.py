"""Tests by pods, on a cluster of dictionaries: what is made, what logs come to, and that all is removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import pytest

from quilt_cli.connectivity import stage
from quilt_cli.connectivity.run import check_nodes, run
from quilt_cli.core.finding import CannotTellError, Level
from quilt_cli.core.matrix import Source
from quilt_cli.core.node_checks import Expected
from quilt_kube.request import ApiError, Json
from quilt_kube.sync import Client

READY = [{"type": "Ready", "status": "True"}]


class Cluster:
    """Nodes n1 and n2 whose kubelets run whatever pod is made; `blocked` are hosts that do not answer."""

    def __init__(self) -> None:
        self.nodes = [{"metadata": {"name": name}, "status": {"conditions": READY}} for name in ("n1", "n2")]
        self.made: dict[str, Json] = {}
        self.blocked: set[str] = set()
        self.serving = True
        self.deleted: list[str] = []
        self.progress: list[str] = []

    @property
    def client(self) -> Client:
        return cast("Client", self)

    def create(self, path: str, body: Any) -> Json:
        self.made[body["metadata"]["name"]] = body
        return {**body, "spec": {"clusterIP": "10.96.0.9"}}

    def items(self, path: str, query: dict[str, str] | None = None) -> list[Json]:
        selector = (query or {}).get("labelSelector", "")
        if path == "/api/v1/nodes":
            return self.nodes
        if path == "/apis/apps/v1/daemonsets":
            image = {"spec": {"containers": [{"image": "node:1"}]}}
            return [{"metadata": {"name": "quilt-mesh", "namespace": "q"}, "spec": {"template": image}}]
        if not path.endswith("/pods"):
            return []
        if "server" in selector:
            return [self._server(index) for index in (1, 2)] if self.serving else []
        ended = {"status": {"phase": "Succeeded"}}
        return [made | ended for made in self.made.values() if made["kind"] == "Pod"]

    def _server(self, index: int) -> Json:
        status = {"conditions": READY, "podIP": f"10.42.{index}.2", "hostIP": f"192.0.2.{index}"}
        metadata = {"name": f"server-{index}"}
        return {"metadata": metadata, "spec": {"nodeName": f"n{index}"}, "status": status}

    def get(self, path: str) -> Json:
        return {"status": {"desiredNumberScheduled": 2, "numberReady": 2 if self.serving else 0}}

    def find(self, path: str) -> Json | None:
        return None if path in self.deleted else {"metadata": {}}

    def delete(self, path: str) -> None:
        self.deleted.append(path)

    def text(self, path: str) -> str:
        """What the pod wrote: a look at its node, or answers to its questions."""
        pod = self.made[path.split("/")[-2]]
        container = pod["spec"]["containers"][0]
        if container["command"][0] == "quiltctl":
            found = {"level": "warn", "code": "kernel", "object": f"node {pod['spec']['nodeName']}"}
            return json.dumps({"findings": [found | {"message": "old", "todo": "upgrade it"}]})
        if pod["spec"]["nodeName"] in self.blocked:
            raise ApiError(500, "no log")
        asked = json.loads(container["env"][0]["value"])
        answers = [item | {"ok": item["host"] not in self.blocked, "attempts": 1} for item in asked]
        return "a line before\n" + json.dumps(answers)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(stage, "_EVERY", 0.0)
    made = Cluster()
    yield made
    assert [path.startswith("/api/v1/namespaces/quilt-connectivity-") for path in made.deleted] == [True]


def test_every_pod_and_host_asks_and_all_of_it_is_removed(cluster: Cluster) -> None:
    found = run(cluster.client, None, cluster.progress.append, hosts=True, timeout=5, keep=False)
    assert found.ok
    assert list(found.answers) == [Source(node, host) for host in (False, True) for node in ("n1", "n2")]
    assert {name for name, made in cluster.made.items() if made["kind"] == "Pod"} == {
        "pod-0",
        "pod-1",
        "host-2",
        "host-3",
    }
    assert cluster.made["pod-0"]["spec"]["containers"][0]["image"] == "node:1"
    assert cluster.progress[:2] == ["2 of 2 servers run", "4 pods and hosts ask 2 servers"]


def test_a_pod_without_an_answer_is_silent_with_its_reason(cluster: Cluster) -> None:
    cluster.blocked = {"n2"}
    found = run(cluster.client, "mine", cluster.progress.append, hosts=False, timeout=5, keep=False)
    assert found.silent == {"node n2": "its test pod pod-1 gave no answer: no log (HTTP 500)"}
    assert not found.ok


def test_a_test_whose_servers_do_not_come_ends_in_time(cluster: Cluster) -> None:
    cluster.serving = False
    with pytest.raises(CannotTellError, match=r"no test pod came to run within 0 s"):
        run(cluster.client, None, cluster.progress.append, hosts=True, timeout=0.05, keep=False)


def test_nodes_are_looked_at_and_the_port_is_tried_between_them(cluster: Cluster) -> None:
    gone = {"type": "Ready", "status": "Unknown", "message": "stopped"}
    cluster.nodes.append({"metadata": {"name": "n3"}, "status": {"conditions": [gone]}})
    cluster.blocked = {"192.0.2.2"}
    want = Expected("", cidrs=("10.42.0.0/16",))
    found = check_nodes(cluster.client, None, want, cluster.progress.append)
    assert [(item.code, item.about, item.level) for item in found] == [
        ("kernel", "node n1", Level.WARN),
        ("kernel", "node n2", Level.WARN),
        ("udp-blocked", "node n1 → n2", Level.FAIL),
        ("node-silent", "node n3", Level.FAIL),
    ]
    command = cluster.made["look-0"]["spec"]["containers"][0]["command"]
    assert command[:6] == ["quiltctl", "check", "node", "-o", "json", "--compact"]
    flags = "--pre --vni 100 --port 4789 --device vxlan100 --cluster-cidr 10.42.0.0/16"
    assert command[6:] == flags.split()


def test_after_an_install_the_port_is_not_tried(cluster: Cluster) -> None:
    found = check_nodes(cluster.client, None, Expected("", installed=True), cluster.progress.append)
    assert {item.code for item in found} == {"kernel"}
    assert "server" not in cluster.made
