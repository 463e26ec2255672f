"""`quiltctl check --upgrade`: what would be in the way of one is a finding; of a well mesh nothing is."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace as struct_replace

from quilt_cli.chart_folder import read_chart, read_values
from quilt_cli.core import upgrade_checks
from quilt_cli.core.chart import Chart, own_chart
from quilt_cli.core.cluster_facts import ClusterFacts
from quilt_cli.core.finding import Finding, Level, StoppedError
from quilt_cli.core.known_fields import paths, unknown
from quilt_cli.core.objects import Workload
from quilt_cli.main import cli
from quilt_crds.definitions import DEFINITIONS
from quilt_crds.wire import Condition, QuiltNode
from tests.support import cli_snapshots as some
from tests.support.cli_fakeapi import FakeApi

ROOT = Path(__file__).parents[3]
CHART = own_chart("0.2.0")
DAEMONSET = Workload("DaemonSet", "quilt-system", "quilt-mesh", 3, 3, 3, version="0.1.0")
OPERATOR = Workload("Deployment", "quilt-system", "quilt-operator", 2, 2, 2, version="0.1.0")
CRDS = {one.resource.crd_name: one.wire() for one in DEFINITIONS}
Json = dict[str, Any]


def facts(mesh: Json | None = None, **fields: Any) -> ClusterFacts:
    snapshot = some.healthy(**{"agents": DAEMONSET, "operator": OPERATOR} | (mesh or {}))
    return ClusterFacts(
        **{
            "version": "v1.36.0",
            "namespace": "quilt-system",
            "crds": dict.fromkeys(CRDS, ("v1alpha1",)),
            "definitions": CRDS,
            "nodes": snapshot.kube_nodes,
            "mesh": snapshot,
        }
        | fields
    )


def found(facts: ClusterFacts, chart: Chart = CHART, client: str = "0.2.0") -> list[tuple[str, Level]]:
    """What is not well, apart from values that nobody gave."""
    findings = upgrade_checks.check(facts, chart, client)
    bad = [(item.code, item.level) for item in findings if item.level is not Level.OK]
    return [item for item in bad if item[0] != "values"]


def agents(*versions: str) -> tuple[QuiltNode, ...]:
    nodes = (some.mesh_node(index) for index in range(1, len(versions) + 1))
    return tuple(
        struct_replace(node, status=struct_replace(node.status, version=version))
        for node, version in zip(nodes, versions, strict=True)
    )


def test_of_a_well_mesh_nothing_is_in_the_way() -> None:
    assert found(facts()) == []


@pytest.mark.parametrize(
    ("installed", "target", "level"),
    [
        ("0.1.0", "0.1.9", None),
        ("0.1.0", "0.2.0", None),
        ("0.9.3", "1.0.0", None),
        ("0.1.0", "0.3.0", Level.FAIL),
        ("1.2.0", "3.0.0", Level.FAIL),
        ("0.2.0", "0.1.0", Level.WARN),
        ("0.3.0", "0.1.0", Level.FAIL),
        ("", "0.2.0", Level.UNKNOWN),
    ],
)
def test_one_minor_version_at_a_time(installed: str, target: str, level: Level | None) -> None:
    workloads = {
        "agents": replace(DAEMONSET, version=installed),
        "operator": replace(OPERATOR, version=installed),
    }
    nodes = agents(*[target] * 3)
    codes = dict(found(facts(workloads | {"mesh_nodes": nodes}), own_chart(target), target))
    assert codes.get("upgrade-way") is level
    assert codes.keys() <= {"upgrade-way"}


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (("0.1.0", "0.1.0", "0.1.0"), []),
        (("0.1.0", "0.2.0", "0.1.0"), [("agents-mixed", Level.WARN)]),
        (("", "", ""), [("agents-version", Level.UNKNOWN)]),
    ],
)
def test_agents_may_be_one_minor_version_older(versions: tuple[str, ...], expected: Any) -> None:
    assert found(facts({"mesh_nodes": agents(*versions)})) == expected


def test_an_earlier_upgrade_has_to_be_finished_first() -> None:
    """Agents that stayed behind by `OnDelete` would be two minor versions older than the operator."""
    later = {"operator": replace(OPERATOR, version="0.2.0"), "mesh_nodes": agents("0.1.0", "0.1.0", "0.1.0")}
    assert found(facts(later), own_chart("0.3.0"), "0.3.0") == [("agents-version", Level.FAIL)]


def test_a_command_of_another_time_is_reported() -> None:
    assert found(facts(), client="0.4.0") == [("upgrade-client", Level.WARN)]


def test_nodes_that_are_not_well_are_in_the_way() -> None:
    silent = struct_replace(some.kube_node(2), status=struct_replace(some.kube_node(2).status, conditions=()))
    nodes = (some.kube_node(1), silent, some.kube_node(3))
    assert found(facts(nodes=nodes)) == [("node-not-ready", Level.FAIL)]
    unsynced = (some.mesh_node(1, DataplaneInSync="False"), some.mesh_node(2), some.mesh_node(3))
    assert found(facts({"mesh_nodes": unsynced})) == [("dataplane-not-in-sync", Level.FAIL)]
    short = replace(DAEMONSET, updated=2)
    assert found(facts({"agents": short})) == [("rollout", Level.FAIL)]


def test_a_paused_withdrawal_is_no_time_for_an_upgrade() -> None:
    paused = some.network(conditions=(Condition("WithdrawalPaused", "True", "ManySuspects", "2 of 3 are"),))
    assert found(facts({"network": paused})) == [("withdrawal-paused", Level.FAIL)]


def test_a_claim_without_a_node_is_reported() -> None:
    subnets = (*map(some.subnet, (1, 2, 3)), some.subnet(9))
    assert found(facts({"subnets": subnets})) == [("claim-orphaned", Level.WARN)]


def crds(manager: str, *, without: str = "", more: str = "") -> dict[str, Json]:
    changed = copy.deepcopy(CRDS)
    crd = changed["quiltnetworks.quilt.io"]
    crd["metadata"]["managedFields"] = [
        {"manager": manager, "fieldsV1": {"f:spec": {}}},
        {"manager": "kube-apiserver", "fieldsV1": {"f:status": {}}},
    ]
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    if without:
        del spec[without]
    if more:
        spec[more] = {"type": "string"}
    return changed


@pytest.mark.parametrize(
    ("definitions", "expected"),
    [
        (crds("kubectl"), []),
        (crds("helm", without="multicast"), []),
        (crds("kubectl", without="multicast"), [("crd-older", Level.WARN)]),
        (crds("helm", more="later"), [("crd-newer", Level.WARN)]),
    ],
)
def test_crds_that_helm_would_not_upgrade_are_reported(definitions: Any, expected: Any) -> None:
    assert found(facts(definitions=definitions)) == expected


def test_crds_that_are_missing_or_of_another_api_are_in_the_way() -> None:
    assert found(facts(crds={}, definitions={})) == [("crds", Level.FAIL)]
    other = dict.fromkeys(CRDS, ("v1",))
    assert found(facts(crds=other)) == [("crd-version", Level.FAIL)] * len(CRDS)


def test_the_crds_of_a_chart_are_those_that_the_command_has_built_in() -> None:
    chart = read_chart(ROOT / "helm/quilt-mesh")
    assert {name: set(paths(schema)) for name, schema in chart.crds.items()} == {
        name: set(paths(schema)) for name, schema in own_chart("").crds.items()
    }


def about_values(values: Json) -> list[Finding]:
    chart = read_chart(ROOT / "helm/quilt-mesh")
    findings = upgrade_checks.check(facts(), chart, chart.version, values)
    return [item for item in findings if item.code.startswith("value")]


def test_values_that_the_chart_no_longer_has_are_named() -> None:
    tolerations = [{"key": "a", "operator": "Exists"}]
    node = {"tolerations": tolerations, "nodeSelector": {"a/b": "c"}, "maxUnavailble": 2}
    gone, *others = about_values({"network": {"clusterCIDRs": ["10.0.0.0/8"]}, "node": node, "agnet": {}})
    assert [item.about for item in (gone, *others)] == ["value node.maxUnavailble", "value agnet"]
    assert "is it node.maxUnavailable now?" in gone.todo
    assert [item.level for item in about_values({"node": {"maxUnavailable": 2}})] == [Level.OK]


def test_every_default_of_the_chart_is_a_value_of_it() -> None:
    chart = read_chart(ROOT / "helm/quilt-mesh")
    assert chart.values is not None
    defaults = read_values(ROOT / "helm/quilt-mesh/values.yaml")
    assert list(unknown(defaults, chart.values, closed=False)) == []


def test_what_helm_prints_above_values_is_none(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("USER-SUPPLIED VALUES:\nlogLevel: debug\n")
    assert read_values(file) == {"logLevel": "debug"}
    file.write_text("null\n")
    assert read_values(file) == {}
    file.write_text("- a\n")
    with pytest.raises(StoppedError, match="holds no values"):
        read_values(file)


def test_a_folder_that_is_no_chart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="not a chart of Quilt Mesh"):
        read_chart(tmp_path)


def test_where_nothing_is_installed_that_is_the_only_finding(api: FakeApi, tmp_path: Path) -> None:
    kubeconfig = str(api.kubeconfig(tmp_path))
    done = CliRunner().invoke(cli, ["check", "--upgrade", "--kubeconfig", kubeconfig, "-o", "json"])
    document = json.loads(done.stdout)
    assert done.exit_code == 1
    assert document["subject"].startswith("upgrade to ")
    assert [item["code"] for item in document["findings"]] == ["not-installed"]
