"""Checks: each thing that would break the mesh fails or warns, with a remedy; a clean place is all ok."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as replace_struct

from quilt_cli.core import cluster_checks
from quilt_cli.core.cluster_facts import ClusterFacts, ForeignNetwork
from quilt_cli.core.finding import Finding, Level
from quilt_cli.core.node_checks import Expected, check, major_minor
from quilt_cli.core.node_facts import Chain, NodeFacts, VxlanDevice
from quilt_cli.core.objects import Workload
from quilt_cli.core.rulesets import forward_chains
from quilt_cli.kernel.host import conflists
from tests.support import cli_snapshots as some

CIDRS = ("10.42.0.0/16",)
CRDS = {f"{kind}.quilt.io": ("v1alpha1",) for kind in ("quiltnetworks", "quiltnodes", "quiltsubnets")}
CLUSTER = ClusterFacts(
    version="v1.36.3",
    namespace="quilt-system",
    crds=CRDS,
    foreign=(),
    service_cidrs=("10.96.0.0/16",),
    nodes=tuple(some.kube_node(index) for index in (1, 2, 3)),
    mesh=some.healthy(),
)
NODE = NodeFacts(
    kernel="6.1.0-18-amd64",
    can_make={"vxlan": True, "bridge": True, "veth": True},
    nexthop_objects=True,
    nft="nftables v1.0.6",
    vxlans=(VxlanDevice("vxlan100", 100, 4789, 1450, True),),
    bridge=True,
    underlay="eth0",
    underlay_mtu=1500,
    port_in_use=True,
    drops_forward=(),
    sysctls={"ipv4/ip_forward": "1", "ipv4/neigh/default/gc_thresh3": "1024"},
    cni_files=("10-quilt.conflist",),
    runtime_answers=True,
)
WANT = Expected("n1", cidrs=CIDRS, installed=True)


def bad(findings: list[Finding]) -> list[tuple[str, Level]]:
    return [(item.code, item.level) for item in findings if item.level is not Level.OK]


def test_a_good_cluster_passes_before_and_after() -> None:
    assert bad(cluster_checks.after(CLUSTER, CIDRS)) == []
    assert bad(cluster_checks.before(replace(CLUSTER, crds={}), CIDRS)) == []


@pytest.mark.parametrize(
    ("changed", "code", "level"),
    [
        ({"version": "v1.31.9"}, "api-version", Level.FAIL),
        ({"version": "v1.9.0"}, "api-version", Level.FAIL),
        ({"crds": CRDS | {"quiltnodes.quilt.io": ("v1",)}}, "crd-version", Level.FAIL),
        (
            {"foreign": (ForeignNetwork("kube-system", "kube-flannel-ds", "is one"),)},
            "foreign-network",
            Level.FAIL,
        ),
        ({"service_cidrs": ("10.42.128.0/20",)}, "service-overlap", Level.FAIL),
        ({"nodes": (some.kube_node(1, address="10.42.0.7"),)}, "node-overlap", Level.FAIL),
        ({"nodes": (some.kube_node(1, pod_cidrs=("10.42.7.0/24",)),)}, "podcidr-overlap", Level.WARN),
        ({"nodes": (some.kube_node(1, kernel="4.18.0-553.el8"),)}, "kernel", Level.WARN),
        ({"pod_security": "restricted"}, "pod-security", Level.FAIL),
    ],
)
def test_what_would_break_an_install_is_reported(changed: dict[str, Any], code: str, level: Level) -> None:
    found = cluster_checks.before(replace(CLUSTER, **changed), CIDRS)
    assert bad(found) == [(code, level)]
    assert all(item.todo for item in found if item.level is level)


def test_an_incomplete_roll_out_is_reported() -> None:
    short = Workload("DaemonSet", "quilt-system", "quilt-mesh", 3, 3, 2)
    found = cluster_checks.after(replace(CLUSTER, mesh=some.healthy(agents=short)), CIDRS)
    assert bad(found) == [("rollout", Level.FAIL)]


def test_one_operator_of_two_is_enough() -> None:
    half = Workload("Deployment", "quilt-system", "quilt-operator", 2, 2, 1)
    found = cluster_checks.after(replace(CLUSTER, mesh=some.healthy(operator=half)), CIDRS)
    assert bad(found) == [("rollout", Level.WARN)]


def test_missing_crds_fail_after_an_install_only() -> None:
    assert bad(cluster_checks.before(replace(CLUSTER, crds={}), CIDRS)) == []
    assert ("crds", Level.FAIL) in bad(cluster_checks.after(replace(CLUSTER, crds={}), CIDRS))


@pytest.mark.parametrize(
    ("spec", "missing"),
    [
        ({}, ""),
        ({"endpoints": {"enabled": False}, "policy": {"enabled": False}}, ""),
        ({"endpoints": {"enabled": True}}, "quiltendpoints.quilt.io"),
        (
            {"endpoints": {"enabled": False}, "policy": {"enabled": True}},
            "quiltendpoints.quilt.io, quiltpeers",
        ),
    ],
)
def test_the_crds_of_policies_are_needed_where_the_network_says_so(
    spec: dict[str, Any], missing: str
) -> None:
    """A network of a release before them says nothing of either."""
    mesh = some.healthy(network=replace_struct(some.network(), spec=spec))
    found = [item for item in cluster_checks.after(replace(CLUSTER, mesh=mesh), CIDRS) if item.code == "crds"]
    assert [item.level for item in found] == [Level.FAIL if missing else Level.OK]
    assert missing in found[0].message


def test_what_cannot_be_read_is_unknown_and_never_fine() -> None:
    blind = ClusterFacts(version="v1.36.0", namespace="quilt-system")
    levels = {item.code: item.level for item in cluster_checks.before(blind, CIDRS)}
    assert levels.pop("api-version") is Level.OK
    assert set(levels.values()) == {Level.UNKNOWN}


def test_a_good_node_passes() -> None:
    assert bad(check(NODE, WANT)) == []
    bare = replace(NODE, vxlans=(), bridge=False, port_in_use=False, runtime_answers=False, cni_files=())
    assert bad(check(bare, replace(WANT, installed=False))) == []


@pytest.mark.parametrize(
    ("changed", "code", "level"),
    [
        ({"kernel": "4.18.0-553.el8"}, "kernel", Level.WARN),
        ({"nexthop_objects": False}, "kernel", Level.WARN),
        ({"can_make": {"vxlan": False}}, "device-vxlan", Level.FAIL),
        ({"can_make": {"vxlan": None}}, "device-vxlan", Level.UNKNOWN),
        ({"vxlans": (*NODE.vxlans, VxlanDevice("x", 100, 4789, 1450, True))}, "vni-taken", Level.FAIL),
        ({"vxlans": (*NODE.vxlans, VxlanDevice("x", 1, 4789, 1450, True))}, "port-shared", Level.WARN),
        ({"underlay_mtu": 1300}, "mtu-small", Level.FAIL),
        ({"underlay_mtu": 1450}, "mtu-large", Level.WARN),
        ({"drops_forward": (Chain("ip filter FORWARD"),)}, "forward-drop", Level.FAIL),
        ({"drops_forward": None}, "forward", Level.UNKNOWN),
        ({"sysctls": {"ipv4/ip_forward": "0"}}, "ip-forward", Level.FAIL),
        ({"sysctls": {"ipv4/neigh/default/gc_thresh3": "512"}}, "neighbours", Level.WARN),
        ({"cni_files": ("05-cilium.conflist", "10-quilt.conflist")}, "cni-foreign", Level.FAIL),
        ({"cni_files": ("10-quilt.conflist", "87-podman.conflist")}, "cni-other", Level.WARN),
        ({"cni_files": ()}, "cni-absent", Level.FAIL),
        ({"bridge": False}, "bridge-absent", Level.FAIL),
        ({"runtime_answers": False}, "runtime-absent", Level.FAIL),
    ],
)
def test_what_would_break_a_node_is_reported(changed: dict[str, Any], code: str, level: Level) -> None:
    found = check(replace(NODE, **changed), WANT)
    assert bad(found) == [(code, level)]
    assert all(item.todo for item in found if item.level in {Level.FAIL, Level.WARN})


def test_ipvs_is_warned_of_where_policies_are_on_kubernetes_68055_kube_network_policies_46() -> None:
    assert bad(check(replace(NODE, ipvs=True), WANT)) == []
    found = check(replace(NODE, ipvs=True, policies=True), WANT)
    assert bad(found) == [("kube-proxy-ipvs", Level.WARN)]


def test_a_program_on_the_port_is_reported_while_the_device_is_not_there() -> None:
    taken = replace(NODE, vxlans=(), port_in_use=True)
    assert bad(check(taken, replace(WANT, installed=False))) == [("port-taken", Level.FAIL)]


def test_a_configuration_of_another_name_is_the_meshs_where_it_calls_our_plugin(tmp_path: Path) -> None:
    (tmp_path / "05-quilt.conflist").write_text('{"plugins": [{"type": "quilt-cni"}]}')
    (tmp_path / "87-podman.conflist").write_text("{}")
    assert conflists(tmp_path) == ["05-quilt.conflist"]
    files = ("05-quilt.conflist", "10-quilt.conflist")
    assert bad(check(replace(NODE, cni_files=files, cni_own=files[0]), WANT)) == [("cni-other", Level.WARN)]


def test_only_what_the_container_runtime_reads_counts_as_configuration() -> None:
    files = ("00-notes.txt", "05-old.conflist.bak", "10-quilt.conflist")
    assert bad(check(replace(NODE, cni_files=files), WANT)) == []


@pytest.mark.parametrize(
    ("release", "version"), [("6.1.0-18-amd64", (6, 1)), ("5.3", (5, 3)), ("odd", (0, 0))]
)
def test_major_minors(release: str, version: tuple[int, int]) -> None:
    assert major_minor(release) == version


def test_chains_that_drop_are_found_with_whether_they_let_the_mesh_pass() -> None:
    def chain(table: str, policy: str, rule: str = "", hook: str = "forward") -> str:
        head = f"type filter hook {hook} priority filter; policy {policy};"
        return f"table ip {table} {{\n\tchain FORWARD {{\n\t\t{head}\n\t\t{rule}\n\t}}\n}}\n"

    ruleset = "".join(
        (
            chain("a", "drop", 'iifname "quilt01" accept'),
            chain("b", "drop", "ip saddr 10.42.0.0/16 accept"),
            chain("c", "accept"),
            chain("d", "drop", hook="input"),
        )
    )
    found = forward_chains(ruleset, ("quilt0", "10.42.0.0"))
    assert found == (Chain("ip a FORWARD", accepts=False), Chain("ip b FORWARD", accepts=True))


def test_a_table_that_a_program_owns_is_read_by_its_name() -> None:
    """What nft adds behind the brace for a table with an owner is no part of its name."""
    chain = "chain f {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}"
    found = forward_chains(f"table inet firewalld {{ # progname firewalld\n\t{chain}\n}}\n", ("quilt0",))
    assert found == (Chain("inet firewalld f"),)
