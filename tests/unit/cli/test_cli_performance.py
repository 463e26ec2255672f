"""`quiltctl connectivity perf`: which paths are measured, by what pods, and what the probe itself finds."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import pytest
from rich.console import Console

from quilt_cli.commands.connectivity.perf import show
from quilt_cli.connectivity import perf_probe, stage
from quilt_cli.connectivity.performance import Wanted, measure
from quilt_cli.core.finding import CannotTellError
from quilt_cli.core.performance import Performance
from quilt_kube.request import Json
from tests.support.cli_pods import Cluster

FIGURES = {"bytes": 250_000_000, "seconds": 1.0, "requests": 100, "p50Us": 80.0, "p99Us": 200.0}


def figures(pod: Json) -> Json:
    """The nodes' own network is twice as fast."""
    share = 0.5 if pod["spec"].get("hostNetwork") else 1.0
    return {**FIGURES, "seconds": share}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(stage, "_EVERY", 0.0)
    made = Cluster()
    made.measured = figures
    yield made
    assert len(made.deleted) == 1


def measured(cluster: Cluster, source: str = "", target: str = "", *, host: bool = False) -> Performance:
    wanted = Wanted(source, target, 1, host)
    return measure(cluster.client, None, wanted, cluster.progress.append, timeout=5, keep=False)


def test_pods_across_and_beside_are_measured_one_after_the_other(cluster: Cluster) -> None:
    found = measured(cluster)
    assert [path.label for path in found.figures] == ["pod on n1 → pod on n2", "pod on n2 → pod on n2"]
    assert found.ok
    assert {one.megabits for one in found.figures.values()} == {2000.0}
    command = cluster.made["measuring-0"]["spec"]["containers"][0]["command"]
    assert command[-4:] == ["measure", "10.42.2.2", "8471", "1"]


def test_nodes_themselves_are_measured_when_asked_and_compared_with(cluster: Cluster) -> None:
    found = measured(cluster, "n2", "n1", host=True)
    labels = [path.label for path in found.figures]
    assert labels == ["pod on n2 → pod on n1", "pod on n1 → pod on n1", "node n2 → node n1"]
    assert [found.share(path) for path in found.figures] == [0.5, None, None]
    assert cluster.made["measured-host"]["spec"]["hostNetwork"]
    out = io.StringIO()
    show(found, Console(file=out, width=200))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert lines[1][-7:] == ["2.00", "Gbit/s", "50%", "0.080", "ms", "0.200", "ms"]


def test_a_single_node_is_measured_to_itself(cluster: Cluster) -> None:
    cluster.nodes = cluster.nodes[:1]
    assert [path.label for path in measured(cluster, host=True).figures] == ["pod on n1 → pod on n1"]


def test_a_path_that_cannot_be_measured_is_a_finding(cluster: Cluster) -> None:
    cluster.measured = lambda pod: {"error": "timed out"} if pod["spec"]["nodeName"] == "n1" else FIGURES
    found = measured(cluster)
    assert not found.ok
    assert [(item.code, item.about, item.message) for item in found.findings] == [
        ("performance", "pod on n1 → pod on n2", "timed out")
    ]


@pytest.mark.parametrize("name", ["n9", "n3"])
def test_a_node_that_does_not_answer_cannot_be_measured(cluster: Cluster, name: str) -> None:
    silent = {"type": "Ready", "status": "Unknown", "message": "stopped"}
    cluster.nodes.append({"metadata": {"name": "n3"}, "status": {"conditions": [silent]}})
    with pytest.raises(CannotTellError, match=f"no Linux node that answers is called {name}"):
        measured(cluster, name)


def test_a_server_that_does_not_run_ends_it(cluster: Cluster) -> None:
    cluster.serving = False
    with pytest.raises(CannotTellError, match="no test server came to run on node n2"):
        measure(
            cluster.client,
            None,
            Wanted("", "", 1, False),
            cluster.progress.append,
            timeout=0.05,
            keep=False,
        )


@pytest.fixture
def port() -> Iterator[int]:
    with perf_probe.Server(("", 0), perf_probe.Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_the_probe_counts_bytes_and_times_requests(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf_probe, "BYTES_AT_MOST", 4 * perf_probe.CHUNK)
    monkeypatch.setattr(perf_probe, "REQUESTS_AT_MOST", 20)
    found = perf_probe.measure("127.0.0.1", port, 5)
    assert found["bytes"] == 4 * perf_probe.CHUNK
    assert found["requests"] == 20
    assert 0 < found["p50Us"] <= found["p99Us"]


def test_the_probe_says_why_there_is_nothing(port: int) -> None:
    assert perf_probe.measure("127.0.0.1", 1, 1) == {"error": "[Errno 111] Connection refused"}
