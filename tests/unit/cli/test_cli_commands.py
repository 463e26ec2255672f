"""The command line as a whole, against an HTTP server that answers like a cluster: output and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from quilt_cli.main import cli
from tests.support.cli_fakeapi import FakeApi

LISTS = (
    "/apis/quilt.io/v1alpha1/quiltnetworks",
    "/apis/quilt.io/v1alpha1/quiltnodes",
    "/apis/quilt.io/v1alpha1/quiltsubnets",
    "/apis/apps/v1/daemonsets",
    "/apis/apps/v1/deployments",
    "/api/v1/nodes",
    "/api/v1/pods",
)


@pytest.fixture
def kubeconfig(api: FakeApi, tmp_path: Path) -> str:
    for path in LISTS:
        api.answers[path] = (200, {"items": []})
    conditions = [{"type": "Ready", "status": "True"}, {"type": "DataplaneInSync", "status": "True"}]
    status = {"phase": "Up", "hostIP": "192.0.2.1", "conditions": conditions}
    node = {"metadata": {"name": "n1"}, "status": status}
    api.answers[LISTS[0]] = (200, {"items": [{"metadata": {"name": "default"}, "spec": {}}]})
    api.answers[LISTS[1]] = (200, {"items": [node]})
    api.answers["/api/v1/nodes"] = (200, {"items": [{"metadata": {"name": "n1"}}]})
    agents = {
        "metadata": {"name": "quilt-mesh", "namespace": "q"},
        "spec": {},
        "status": {"desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1},
    }
    api.answers["/apis/apps/v1/daemonsets"] = (200, {"items": [agents]})
    operator = {
        "metadata": {"name": "quilt-operator", "namespace": "q"},
        "spec": {"replicas": 1},
        "status": {"readyReplicas": 1, "updatedReplicas": 1},
    }
    api.answers["/apis/apps/v1/deployments"] = (200, {"items": [operator]})
    api.answers["/version"] = (200, {"gitVersion": "v1.36.0"})
    return str(api.kubeconfig(tmp_path))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def test_status_in_both_forms_and_with_the_flag_at_either_place(kubeconfig: str) -> None:
    before = run("--kubeconfig", kubeconfig, "status")
    after = run("status", "--kubeconfig", kubeconfig, "-o", "json")
    assert (before.exit_code, after.exit_code) == (0, 0), before.output + after.output
    assert "the mesh is healthy: 1 nodes" in before.output
    assert json.loads(after.stdout)["nodes"][0]["name"] == "n1"


def test_a_problem_is_exit_code_one(kubeconfig: str, api: FakeApi) -> None:
    api.answers["/apis/apps/v1/deployments"] = (200, {"items": []})
    found = run("--kubeconfig", kubeconfig, "status")
    assert found.exit_code == 1
    assert "Deployment quilt-operator: not found" in found.output


def test_rights_that_are_missing_are_reported_and_do_no_harm(kubeconfig: str, api: FakeApi) -> None:
    for path in ("/api/v1/pods", "/api/v1/nodes", "/apis/apps/v1/deployments", "/apis/apps/v1/daemonsets"):
        api.answers[path] = (403, {"message": "forbidden"})
    found = run("--kubeconfig", kubeconfig, "status")
    assert found.exit_code == 0, found.output
    assert "not looked at: daemonsets, deployments, nodes, pods (no permission)" in found.output


@pytest.mark.parametrize("output", ["table", "json"])
def test_what_cannot_be_known_is_exit_code_two(kubeconfig: str, api: FakeApi, output: str) -> None:
    api.answers[LISTS[1]] = (403, {"message": "not you [by name]"})
    found = run("--kubeconfig", kubeconfig, "status", "-o", output)
    assert found.exit_code == 2
    assert "not you [by name]" in found.output


def test_programs_read_in_json_why_any_command_stopped(
    kubeconfig: str, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError("no netlink here")

    api.answers["/apis/apps/v1/daemonsets"] = (200, {"items": []})
    monkeypatch.setattr("quilt_cli.commands.check.node.look", refused)
    for command, why in (
        (("--kubeconfig", kubeconfig, "connectivity", "test"), "there is no DaemonSet quilt-mesh"),
        (("check", "node"), "this node cannot be looked at: no netlink here"),
    ):
        assert why in run(*command).stderr
        found = run(*command, "-o", "json")
        assert found.exit_code == 2
        assert why in json.loads(found.stdout)["error"]


def test_check_says_what_it_saw(kubeconfig: str) -> None:
    found = run("--kubeconfig", kubeconfig, "check", "--pre", "-o", "json")
    document = json.loads(found.stdout)
    assert document["kind"] == "QuiltCheck"
    assert document["subject"] == "cluster (pre-install)"
    assert {item["code"] for item in document["findings"]} >= {"api-version", "crds", "foreign-network"}


def test_the_help_lists_every_command_and_each_has_help() -> None:
    found = run("--help")
    assert all(name in found.output for name in ("status", "check", "connectivity", "cleanup"))
    for command in (["status"], ["check"], ["check", "node"], ["connectivity", "test"], ["cleanup"]):
        assert run(*command, "--help").exit_code == 0


def test_more_pods_than_addresses_are_reported_before_an_install(api: FakeApi, kubeconfig: str) -> None:
    """u5: `quiltctl check --pre` warns with both numbers where kubelets run more pods than addresses."""
    nodes = [{"metadata": {"name": name}, "status": {"capacity": {"pods": "110"}}} for name in ("n1", "n2")]
    api.answers["/api/v1/nodes"] = (200, {"items": nodes})
    small = run("check", "--pre", "--node-prefix-length", "26", "--kubeconfig", kubeconfig)
    assert "61 addresses for pods (/26)" in small.output
    assert "110 on n1, 110 on n2" in small.output
    large = run("check", "--pre", "--kubeconfig", kubeconfig)
    assert "addresses for pods (/24)" not in large.output
