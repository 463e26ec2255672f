"""Tests by pods, on a cluster of dictionaries: what is made, what logs come to, and that all is removed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quilt_cli.connectivity import stage
from quilt_cli.connectivity.run import check_nodes, run
from quilt_cli.core.finding import CannotTellError, Level
from quilt_cli.core.matrix import Source
from quilt_cli.core.node_checks import Expected
from tests.support.cli_pods import Cluster


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
