"""`quiltctl sysdump`: complete as far as nodes live, without secrets, and read again as the cluster was."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from quilt_cli.api.recorded import Recording
from quilt_cli.archive_file import read_archive
from quilt_cli.core.sysdump import Missing, cleaned, cleaned_items, findings, object_file
from quilt_cli.main import cli
from quilt_kube.access import Access
from quilt_kube.channels import CommandError
from quilt_kube.request import Request, UnreachableError
from quilt_kube.sync import Client
from tests.support.cli_fakeapi import FakeApi
from tests.support.dumped_mesh import LISTS, SECRET, Nodes, fill, pod, quilt_node, system_pod

QUILTNODES = LISTS[1]


@pytest.fixture
def kubeconfig(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    fill(api)
    monkeypatch.chdir(tmp_path)
    return str(api.kubeconfig(tmp_path))


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception | dict[str, Any]]:
    """What nodes answer, by pod; else a whole report."""
    nodes = Nodes()
    monkeypatch.setattr(Client, "execute", nodes.execute)
    return nodes.given


def run(kubeconfig: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--kubeconfig", kubeconfig, *arguments])


def test_a_sound_mesh_is_complete_and_for_its_owner_alone(kubeconfig: str, tmp_path: Path) -> None:
    done = run(kubeconfig, "sysdump", "-f", "dump.tar.gz")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "dump.tar.gz").stat().st_mode & 0o777 == 0o600
    index, files = read_archive(tmp_path / "dump.tar.gz")
    assert index.nodes == {"quilt-mesh-n1": "n1", "quilt-mesh-n2": "n2"}
    assert {
        "nodes/n1/kernel.json",
        "nodes/n2/agent-metrics.txt",
        "nodes/n2/latency.json",
        "nodes/n2/check.json",
        "pods/quilt-mesh-n1/agent.log",
        "pods/quilt-mesh-n1/agent.previous.log",
        "pods/quilt-mesh-n2/runtime.log",
        "objects/apis/quilt.io/v1alpha1/quiltnodes.json",
        "status.json",
        "check.json",
    } <= files.keys()


def test_what_is_found_on_nodes_is_in_it(kubeconfig: str, tmp_path: Path) -> None:
    run(kubeconfig, "sysdump", "-f", "dump.tar.gz")
    _, files = read_archive(tmp_path / "dump.tar.gz")
    found = {node: json.loads(files[f"nodes/{node}/check.json"]) for node in ("n1", "n2")}
    assert [item["code"] for item in found["n1"]] == ["mtu"]
    assert [item["code"] for item in found["n2"]] == ["mtu", "port-taken"]


def test_what_was_found_on_nodes_is_checked_again_from_the_archive(
    kubeconfig: str, answers: dict[str, Any]
) -> None:
    answers["quilt-mesh-n1"] = UnreachableError("no answer in time")
    run(kubeconfig, "sysdump", "-f", "dump.tar.gz")
    done = run("/nowhere", "check", "--nodes", "--from", "dump.tar.gz", "-o", "json")
    found = {(item["object"], item["code"], item["level"]) for item in json.loads(done.stdout)["findings"]}
    assert {("Node n1", "node-silent", "fail"), ("node n2", "port-taken", "fail")} <= found
    assert done.exit_code == 1


def test_the_name_has_cluster_and_time(kubeconfig: str, tmp_path: Path) -> None:
    assert run(kubeconfig, "sysdump").exit_code == 0
    (found,) = tmp_path.glob("quilt-sysdump-*")
    assert found.name.startswith("quilt-sysdump-x-20")
    assert found.name.endswith("Z.tar.gz")


def test_no_planted_secret_is_anywhere(kubeconfig: str, tmp_path: Path, api: FakeApi) -> None:
    assert run(kubeconfig, "sysdump", "-f", "dump.tar.gz").exit_code == 0
    assert SECRET.encode() not in gzip.decompress((tmp_path / "dump.tar.gz").read_bytes())
    assert not any("/secrets" in path for _, path, _ in api.seen)


@pytest.mark.parametrize("command", [("status",), ("check",), ("latency",), ("status", "-o", "json")])
def test_commands_print_of_the_archive_what_they_print_of_the_cluster(
    kubeconfig: str, command: tuple[str, ...]
) -> None:
    run(kubeconfig, "sysdump", "-f", "dump.tar.gz")
    live = run(kubeconfig, *command)
    kept = run("/nowhere", *command, "--from", "dump.tar.gz")
    assert live.output
    assert (kept.output, kept.exit_code) == (live.output, live.exit_code)


def test_what_was_refused_is_missing_and_is_refused_again(kubeconfig: str, api: FakeApi) -> None:
    api.answers["/api/v1/nodes"] = (403, {"message": "not you"})
    done = run(kubeconfig, "sysdump", "-f", "dump.tar.gz")
    assert done.exit_code == 1
    assert "not you (HTTP 403)" in done.output
    live, kept = run(kubeconfig, "status"), run("/nowhere", "status", "--from", "dump.tar.gz")
    assert kept.output == live.output
    assert "not looked at: nodes" in kept.output


def test_nodes_that_do_not_answer_are_named_and_the_rest_is_complete(
    kubeconfig: str, answers: dict[str, Any], api: FakeApi, tmp_path: Path
) -> None:
    answers["quilt-mesh-n1"] = UnreachableError("no answer in time")
    api.answers["/api/v1/namespaces/q/pods/quilt-mesh-n1/log"] = (502, {"message": "dial tcp: i/o timeout"})
    done = run(kubeconfig, "sysdump", "-f", "dump.tar.gz", "-o", "json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert {item["object"] for item in document["findings"]} == {"Node n1"}
    assert any(
        "kernel" in item["message"] and "no answer in time" in item["message"]
        for item in document["findings"]
    )
    index, files = read_archive(tmp_path / "dump.tar.gz")
    assert {item.about for item in index.missing} == {"Node n1"}
    assert "nodes/n2/kernel.json" in files
    kept = run("/nowhere", "latency", "--from", "dump.tar.gz")
    assert "Node n1: the node gave no answer: no answer in time" in kept.output


def test_a_hung_agent_is_named_by_what_it_does_not_serve(kubeconfig: str, answers: dict[str, Any]) -> None:
    parts = {"kernel": {"node": "n2"}, "runtime metrics": "m 1\n"}
    hung = dict.fromkeys(("agent metrics", "latency"), "timed out")
    answers["quilt-mesh-n2"] = {"parts": parts, "missing": hung}
    done = run(kubeconfig, "sysdump", "-f", "dump.tar.gz")
    assert done.exit_code == 1
    assert "Node n2: agent metrics, latency: timed out" in done.output


def test_an_image_without_the_command_is_named(kubeconfig: str, answers: dict[str, Any]) -> None:
    answers["quilt-mesh-n2"] = CommandError("Error: No such command 'node'.")
    done = run(kubeconfig, "sysdump", "-f", "dump.tar.gz")
    assert (done.exit_code, "No such command" in done.output) == (1, True)


def test_a_node_without_a_pod_is_named(kubeconfig: str, api: FakeApi) -> None:
    api.answers[QUILTNODES] = (200, {"items": [quilt_node(name) for name in ("n1", "n2", "n3")]})
    done = run(kubeconfig, "sysdump", "-f", "dump.tar.gz")
    assert (done.exit_code, "Node n3: kernel: no pod of quilt-mesh is on it" in done.output) == (1, True)


def test_the_archive_can_be_a_stream(kubeconfig: str) -> None:
    done = run(kubeconfig, "sysdump", "-f", "-")
    assert done.exit_code == 0
    with tarfile.open(fileobj=io.BytesIO(done.stdout_bytes), mode="r|gz") as archive:
        assert any(name.endswith("/index.json") for name in archive.getnames())
    assert run(kubeconfig, "sysdump", "-f", "-", "-o", "json").exit_code == 2


def test_some_nodes_alone_and_a_bound_for_all(kubeconfig: str, tmp_path: Path, api: FakeApi) -> None:
    assert run(kubeconfig, "sysdump", "-f", "dump.tar.gz", "--node", "n2").exit_code == 0
    _, files = read_archive(tmp_path / "dump.tar.gz")
    assert not any(name.startswith("nodes/n1/") for name in files)
    api.answers["/api/v1/namespaces/q/pods/quilt-mesh-n2/log"] = (200, f"{'x' * 99}\n" * 40_000)
    done = run(kubeconfig, "sysdump", "-f", "dump.tar.gz", "--max-size", "1")
    assert (done.exit_code, "--max-size" in done.output) == (1, True)
    assert len(read_archive(tmp_path / "dump.tar.gz")[1].get("pods/quilt-mesh-n2/agent.log", b"")) < 1 << 20


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dump.tar.gz"
    for content in (b"", b"no archive", gzip.compress(b"x" * 600)):
        path.write_bytes(content)
        done = CliRunner().invoke(cli, ["status", "--from", str(path)])
        assert (done.exit_code, "is not an archive" in done.output) == (2, True)


def test_a_command_that_needs_more_than_the_archive_has_stops(kubeconfig: str) -> None:
    run(kubeconfig, "sysdump", "-f", "dump.tar.gz")
    done = run("/nowhere", "check", "--beside", "flannel", "--from", "dump.tar.gz")
    assert (done.exit_code, "is not in the archive" in done.output) == (2, True)


def test_nothing_is_left_where_the_cluster_is_away(tmp_path: Path, api: FakeApi) -> None:
    kubeconfig = str(api.kubeconfig(tmp_path)).replace("kubeconfig", "other")
    Path(kubeconfig).write_text(
        Path(tmp_path / "kubeconfig").read_text().replace(api.url, "http://127.0.0.1:1")
    )
    done = run(kubeconfig, "sysdump", "-f", str(tmp_path / "dump.tar.gz"))
    assert done.exit_code == 2
    assert not list(tmp_path.glob("*dump*"))


LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.just("text")
OBJECTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("spec", "containers", "x")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(OBJECTS, st.sampled_from(["env", "envFrom", "managedFields"]))
def test_environments_are_left_out_at_any_depth_and_the_rest_is_kept(other: Any, field: str) -> None:
    container = {"name": "c", field: [{"name": "A", "value": SECRET}], "other": other}
    found = json.loads(cleaned(json.dumps({"items": [{"deep": [container, other]}]}).encode()))
    assert SECRET not in json.dumps(found)
    assert found["items"][0]["deep"][0]["other"] == other
    assert found["items"][0]["deep"][1] == other


def test_a_secret_that_came_anyway_has_no_data() -> None:
    secret = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": SECRET}, "stringData": {"k": SECRET}}
    assert json.loads(cleaned(json.dumps(secret).encode())) == {"kind": "Secret", "metadata": {"name": "s"}}


def test_of_others_pods_is_kept_what_leads_to_them_and_of_the_mesh_all_but_secrets() -> None:
    own, others = system_pod("n1"), pod(1)
    found = json.loads(cleaned(json.dumps({"kind": "PodList", "items": [own, others]}).encode()))
    assert found["items"][0]["status"] == own["status"]
    assert found["items"][0]["spec"]["containers"] == [{"name": "agent", "env": [{"name": "API_TOKEN"}]}]
    assert found["items"][1] == {
        "metadata": {
            "namespace": "default",
            "name": "pod1",
            "uid": "uid-1",
            "labels": {"auth": "kind-1"},
        },
        "spec": {"nodeName": "n1", "containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.42.1.5"}, {"ip": "fd42::1:5"}]},
    }


def test_a_list_in_pages_is_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def send(_: Client, request: Request, *, timeout: float | None = None) -> bytes:
        asked.append(request.target)
        first = "continue" not in request.query
        metadata = {"continue": "next"} if first else {}
        return json.dumps({"kind": "PodList", "metadata": metadata, "items": [pod(1 + len(asked))]}).encode()

    monkeypatch.setattr(Client, "send", send)
    kept: dict[str, bytes] = {}
    Recording(Access("https://x"), kept.__setitem__, agent="test").keep_list("/api/v1/pods", cleaned_items)
    assert asked == ["/api/v1/pods?limit=500", "/api/v1/pods?limit=500&continue=next"]
    found = json.loads(kept["/api/v1/pods"])
    assert [item["metadata"]["name"] for item in found["items"]] == ["pod2", "pod3"]
    assert SECRET not in json.dumps(found)


def test_files_are_named_as_what_was_asked() -> None:
    assert object_file("/api/v1/nodes") == "objects/api/v1/nodes.json"
    asked = "/api/v1/pods?labelSelector=app.kubernetes.io%2Fname%3Dquilt-mesh"
    assert object_file(asked) == "objects/api/v1/pods@labelSelector=app.kubernetes.io_name=quilt-mesh.json"


def test_what_is_missing_is_one_line_for_an_object_and_a_reason() -> None:
    lacking = [
        Missing("Node a", "kernel", "dead"),
        Missing("Node a", "log", "dead"),
        Missing("Node b", "log", "x"),
    ]
    assert [(item.about, item.message) for item in findings(lacking)] == [
        ("Node a", "kernel, log: dead"),
        ("Node b", "log: x"),
    ]
