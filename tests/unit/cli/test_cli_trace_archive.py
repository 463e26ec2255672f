"""`quiltctl trace --from`: the steps that the cluster had when it was archived, without sending anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from quilt_cli.main import cli
from quilt_kube.request import UnreachableError
from quilt_kube.sync import Client
from tests.support.cli_fakeapi import FakeApi
from tests.support.dumped_mesh import QUILT, Nodes, fill, put

PODS = ("default/pod1", "default/pod2", "--port=8080")
SERVICE = ("default/pod1", "10.96.0.9", "--port=80")


@pytest.fixture
def kubeconfig(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    fill(api)
    monkeypatch.chdir(tmp_path)
    return str(api.kubeconfig(tmp_path))


@pytest.fixture(autouse=True)
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    answering = Nodes()
    monkeypatch.setattr(Client, "execute", answering.execute)
    return answering


def run(kubeconfig: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--kubeconfig", kubeconfig, *arguments])


def archived(kubeconfig: str, *flags: str) -> None:
    run(kubeconfig, "sysdump", "-f", "dump.tar.gz", *flags)
    assert Path("dump.tar.gz").exists()


def kept(*arguments: str) -> Result:
    return run("/nowhere", "trace", *arguments, "--from", "dump.tar.gz")


def document(done: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("ends", [PODS, SERVICE, ("n1", "n2"), ("default/pod2", "10.42.1.0")])
def test_the_steps_are_those_of_the_cluster(kubeconfig: str, ends: tuple[str, ...]) -> None:
    archived(kubeconfig)
    live = run(kubeconfig, "trace", *ends, "--no-probe", "-o", "json")
    found = kept(*ends, "-o", "json")
    assert found.exit_code == live.exit_code
    assert document(live)["steps"]
    assert document(found).pop("taken")
    assert document(found) | {"taken": ""} == document(live)


def test_people_see_that_nothing_was_sent(kubeconfig: str) -> None:
    archived(kubeconfig)
    found = kept(*PODS)
    assert (found.exit_code, "sound: " in found.output) == (0, True)
    assert "no packets were sent" in found.output


def test_what_was_broken_then_is_named(kubeconfig: str, nodes: Nodes) -> None:
    neighbors, nodes.kernels["n1"]["neighbors"] = nodes.kernels["n1"]["neighbors"], []
    archived(kubeconfig)
    nodes.kernels["n1"]["neighbors"] = neighbors
    found = kept(*PODS)
    assert (found.exit_code, "neighbor 10.42.2.0 on n1: absent" in found.output) == (1, True)


def test_policies_decide_by_labels_whatever_these_are_called(kubeconfig: str, api: FakeApi) -> None:
    network = {"metadata": {"name": "default"}, "spec": {"policy": {"enabled": True}}}
    put(api, f"{QUILT}/quiltnetworks", [network])
    api.answers[f"{QUILT}/quiltnetworks/default"] = (200, network)
    about = {"matchExpressions": [{"key": "auth", "operator": "In", "values": ["kind-2"]}]}
    spec = {"podSelector": about, "policyTypes": ["Ingress"]}
    policy = {"metadata": {"namespace": "default", "name": "deny"}, "spec": spec}
    put(api, "/apis/networking.k8s.io/v1/networkpolicies", [policy])
    archived(kubeconfig)
    live, found = run(kubeconfig, "trace", *PODS, "--no-probe"), kept(*PODS)
    assert "denied, ingress: default/deny" in live.output
    assert "denied, ingress: default/deny" in found.output
    assert document(kept("default/pod2", "default/pod1", "-o", "json"))["sound"]


def test_a_node_that_was_not_asked_for_is_named(kubeconfig: str) -> None:
    archived(kubeconfig, "--node", "n1")
    found = kept(*PODS)
    assert (found.exit_code, "n2 is not in the archive" in found.output) == (2, True)


def test_a_node_that_did_not_answer_is_named_with_the_reason(kubeconfig: str, nodes: Nodes) -> None:
    nodes.given["quilt-mesh-n2"] = UnreachableError("no answer in time")
    archived(kubeconfig)
    found = kept(*PODS)
    assert (found.exit_code, "on n2: the node gave no answer: no answer in time" in found.output) == (2, True)


def test_what_was_refused_then_is_reported(kubeconfig: str, api: FakeApi) -> None:
    api.answers["/api/v1/services"] = (403, {"message": "no services for you"})
    archived(kubeconfig)
    found = kept(*PODS)
    assert (found.exit_code, "no services for you" in found.output) == (2, True)
