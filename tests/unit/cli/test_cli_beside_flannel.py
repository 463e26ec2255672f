"""`quiltctl check --pre --beside flannel`: what would be in the way of moving over from Flannel."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from quilt_cli.core import beside_flannel, cluster_checks
from quilt_cli.core.beside_flannel import Beside, Flannel, Planned
from quilt_cli.core.cluster_facts import ClusterFacts, ForeignNetwork
from quilt_cli.core.finding import Finding, Level
from quilt_cli.main import cli
from tests.support import cli_snapshots as some
from tests.support.cli_fakeapi import FakeApi
from tests.support.flannel import MANIFEST, objects
from tests.support.pages import ROOT, page_block

FLANNEL = Flannel("DaemonSet kube-flannel/kube-flannel-ds", ("10.244.0.0/16",))
MESH = Planned(install="labelled", cni_file="05-quilt.conflist")
NODES = tuple(some.kube_node(index, pod_cidrs=(f"10.244.{index}.0/24",)) for index in (1, 2))
CLUSTER = ClusterFacts(
    version="v1.36.3",
    namespace="quilt-system",
    crds={},
    foreign=(ForeignNetwork("kube-flannel", "kube-flannel-ds", "is another pod network"),),
    service_cidrs=("10.96.0.0/16",),
    nodes=NODES,
)


def bad(findings: list[Finding]) -> list[tuple[str, Level]]:
    return [(item.code, item.level) for item in findings if item.level is not Level.OK]


def judged(flannel: Flannel | None = FLANNEL, mesh: Planned = MESH, proxy: str | None = "") -> list[Finding]:
    found = cluster_checks.before(CLUSTER, mesh.cidrs, beside_flannel=True)
    return beside_flannel.judge(found, CLUSTER, Beside(flannel, mesh, proxy))


def test_nothing_is_in_the_way_of_values_that_fit() -> None:
    assert bad(judged()) == []
    assert bad(judged(proxy="10.0.0.0/8,fd00::/8")) == []


@pytest.mark.parametrize(
    ("flannel", "mesh", "proxy", "expected"),
    [
        (None, {}, "", ("beside-flannel", Level.FAIL)),
        ({"networks": ()}, {}, "", ("beside-flannel", Level.UNKNOWN)),
        ({"backend": "host-gw"}, {}, "", ("beside-backend", Level.WARN)),
        ({"networks": ("10.42.0.0/16",)}, {}, "", ("beside-range", Level.FAIL)),
        ({}, {"cidrs": ("10.244.2.0/23",)}, "", ("beside-range", Level.FAIL)),
        ({"port": 4789, "vni": 100}, {}, "", ("beside-vxlan", Level.FAIL)),
        ({"port": 4789}, {}, "", ("beside-vxlan", Level.WARN)),
        ({}, {"install": "always"}, "", ("beside-install", Level.FAIL)),
        ({}, {"cni_file": "10-quilt.conflist"}, "", ("beside-cni", Level.FAIL)),
        ({}, {}, "10.244.0.0/16", ("beside-kube-proxy", Level.WARN)),
        ({}, {}, None, ("beside-kube-proxy", Level.UNKNOWN)),
    ],
)
def test_what_would_be_in_the_way_is_reported(
    flannel: dict[str, Any] | None, mesh: dict[str, Any], proxy: str | None, expected: tuple[str, Level]
) -> None:
    changed = None if flannel is None else replace(FLANNEL, **flannel)
    found = judged(changed, replace(MESH, **mesh), proxy)
    assert bad(found) == [expected]
    assert all(item.todo for item in found if item.level in (Level.FAIL, Level.WARN))


def test_the_range_of_k3s_is_named_with_one_that_is_free() -> None:
    found = judged(replace(FLANNEL, networks=("10.42.0.0/16",)))
    (clash,) = (item for item in found if item.level is Level.FAIL)
    assert "k3s' range by default" in clash.message
    assert clash.todo == "network.clusterCIDRs: [10.52.0.0/16]"


def test_what_was_found_of_nodes_about_the_order_of_files_is_not_repeated() -> None:
    by_pods = [Finding(Level.FAIL, code, "node n1", "…", "…") for code in ("cni-foreign", "mtu-small")]
    found = beside_flannel.judge(by_pods, CLUSTER, Beside(FLANNEL, MESH, ""))
    assert bad(found) == [("mtu-small", Level.FAIL)]


def test_another_network_beside_flannel_is_still_in_the_way() -> None:
    other = ForeignNetwork("kube-system", "calico-node", "is another pod network")
    facts = replace(CLUSTER, foreign=(*(CLUSTER.foreign or ()), other))
    for found in (
        cluster_checks.before(facts, MESH.cidrs, beside_flannel=True),
        cluster_checks.after(facts, MESH.cidrs, beside_flannel=True),
    ):
        (about,) = (item.about for item in found if item.code == "foreign-network")
        assert about == "DaemonSet kube-system/calico-node"


def test_a_flannel_is_read_from_its_manifest() -> None:
    found = {item["kind"]: item for item in objects(MANIFEST.read_text())}
    network = json.loads(found["ConfigMap"]["data"]["net-conf.json"])
    flannel = Flannel.read(found["DaemonSet"], network)
    assert flannel == FLANNEL
    backend = {"Type": "vxlan", "VNI": 7, "Port": 8473}
    assert Flannel.read(found["DaemonSet"], {"Backend": backend, "IPv6Network": "fd00::/48"}) == Flannel(
        FLANNEL.name, ("fd00::/48",), "vxlan", 7, 8473
    )


@pytest.fixture
def flannel_cluster(api: FakeApi, tmp_path: Path) -> str:
    found = {item["kind"]: item for item in objects(MANIFEST.read_text())}
    nodes = [{"metadata": {"name": "n1"}, "spec": {"podCIDRs": ["10.244.0.0/24"]}}]
    for path, items in (
        ("/apis/apps/v1/daemonsets", [found["DaemonSet"]]),
        ("/apis/networking.k8s.io/v1/servicecidrs", [{"spec": {"cidrs": ["10.96.0.0/16"]}}]),
        ("/api/v1/nodes", nodes),
    ):
        api.answers[path] = (200, {"items": items})
    api.answers["/version"] = (200, {"gitVersion": "v1.36.0"})
    api.answers["/api/v1/namespaces/kube-flannel/configmaps/kube-flannel-cfg"] = (200, found["ConfigMap"])
    proxy = {"data": {"config.conf": "clusterCIDR: 10.244.0.0/16\n"}}
    api.answers["/api/v1/namespaces/kube-system/configmaps/kube-proxy"] = (200, proxy)
    return str(api.kubeconfig(tmp_path))


def test_the_values_of_the_page_pass(flannel_cluster: str, tmp_path: Path) -> None:
    values = tmp_path / "beside-flannel.yaml"
    values.write_text(page_block(ROOT / "docs/migrate-from-flannel.md", "yaml"))
    given = ["check", "--pre", "--beside", "flannel", "--kubeconfig", flannel_cluster, "-o", "json"]
    done = CliRunner().invoke(cli, [*given, "--values", str(values)])
    assert done.exit_code == 0, done.output
    levels = {item["code"]: item["level"] for item in json.loads(done.stdout)["findings"]}
    assert levels["beside-flannel"] == levels["beside-range"] == levels["beside-cni"] == "ok"
    assert levels["beside-kube-proxy"] == "warn"
    assert "podcidr-overlap" not in levels
    without = json.loads(CliRunner().invoke(cli, given).stdout)
    assert {item["code"] for item in without["findings"] if item["level"] == "fail"} == {
        "beside-install",
        "beside-cni",
    }


def test_a_k3s_has_nothing_but_annotations(flannel_cluster: str, api: FakeApi, tmp_path: Path) -> None:
    annotations = {"flannel.alpha.coreos.com/backend-type": "vxlan"}
    node = {"metadata": {"name": "n1", "annotations": annotations}, "spec": {"podCIDRs": ["10.42.0.0/24"]}}
    api.answers["/api/v1/nodes"] = (200, {"items": [node]})
    api.answers["/apis/apps/v1/daemonsets"] = (200, {"items": []})
    values = tmp_path / "k3s.yaml"
    values.write_text(yaml.safe_dump({"cni": {"install": "labelled", "confName": "05-quilt.conflist"}}))
    given = ["check", "--pre", "--beside", "flannel", "--kubeconfig", flannel_cluster, "-o", "json"]
    done = CliRunner().invoke(cli, [*given, "--values", str(values)])
    found = {item["code"]: item for item in json.loads(done.stdout)["findings"]}
    assert found["beside-range"]["level"] == "fail"
    assert "10.42.0.0/24" in found["beside-range"]["message"]
    assert found["beside-flannel"]["level"] == "unknown"
