"""Numbers and names on the pages about limits and monitoring are those of the code."""

from __future__ import annotations

import re

import pytest
import yaml

from quilt_crds.capacity import pod_addresses
from quilt_crds.quiltnetwork import MTU_MIN, QuiltNetworkSpec
from quilt_events import ration
from quilt_multicast.core.members import Limits
from quilt_operator.core.plan import make_pools
from tests.support.pages import ROOT

LIMITS = (ROOT / "docs/limits.md").read_text()
MONITORING = (ROOT / "docs/monitoring.md").read_text()
REFERENCE = (ROOT / "docs/reference.md").read_text()
RULES = yaml.safe_load((ROOT / "helm/quilt-mesh/files/alerts.yaml").read_text())["groups"][0]["rules"]
# Metric → its labels, as the reference has them.
METRICS = {
    name: set(filter(None, labels.split(",")))
    for name, labels in re.findall(r"^\| `(quilt_\w+?)(?:\{(.*?)\})?` \|", REFERENCE, re.MULTILINE)
}


def row(first: str) -> str:
    """The second cell of a table's row of the limits."""
    found = re.search(rf"^\| {re.escape(first)}[^|]*\| ([^|]+?) \|", LIMITS, re.MULTILINE)
    assert found, first
    return found[1].replace(",", "")


def test_addresses_for_pods_are_what_the_runtime_gives() -> None:
    rows = re.findall(r"^\| (\d+)(?:, the default)? \| (\d+) \|$", LIMITS, re.MULTILINE)
    assert {int(length) for length, _ in rows} == set(range(22, 29))
    assert all(pod_addresses(int(length)) == int(count) for length, count in rows)


def test_the_defaults_hold_as_many_nodes_as_the_page_says() -> None:
    spec = QuiltNetworkSpec()
    pool = make_pools(spec.cluster_cidrs, spec.node_prefix_length)[4]
    nodes = pool.slots - len(pool.reserved)
    assert int(row("node subnets, with the defaults")) == nodes
    pods = pod_addresses(spec.node_prefix_length)
    assert f"{nodes} nodes of {pods} pods with the defaults" in (ROOT / "README.md").read_text()


def test_limits_of_multicast_are_those_of_the_code() -> None:
    limits, spec = Limits(), QuiltNetworkSpec().multicast
    assert int(row("groups that a pod joins")) == spec.max_groups_per_pod
    assert int(row("groups that a node's pods join")) == spec.max_groups_per_node
    assert int(row("flows (source and group)")) == limits.flows_per_pod
    assert int(row("flows to other nodes, of a node")) == limits.flows_per_node


def test_limits_of_events_are_those_of_the_code() -> None:
    assert ration.SLOT == 600
    assert int(row("Events of one reason that an agent writes").partition(";")[0]) == ration.MOST
    of_all = f"{ration.MOST * ration.PLACES} in a mesh of any size above {ration.PLACES} nodes"
    assert row("Events of one reason that all agents write") == of_all
    assert int(row("kinds of trouble in one Event")) == ration.WAITING


def test_the_least_mtu_is_the_apis() -> None:
    assert row("MTU of pods").endswith(f"at least {MTU_MIN}")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_and_labels_that_exist(rule: dict[str, str]) -> None:
    asked = re.findall(r"(quilt_\w+)(?:\{(\w+)=)?", rule["expr"])
    assert asked
    assert {name for name, _ in asked} <= set(METRICS)
    assert all(not label or label in METRICS[name] for name, label in asked)
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) - {"instance", "node"}
    assert all(shown <= METRICS[name] for name, _ in asked)


def test_the_page_lists_the_alerts() -> None:
    listed = re.findall(r"^\| \[`(Quilt\w+)`\]\(troubleshooting", MONITORING, re.MULTILINE)
    assert listed == [rule["alert"] for rule in RULES]


def test_event_names_and_metrics_of_the_page_exist() -> None:
    named = set(re.findall(r"`(\w+_\w+)`", MONITORING))
    assert named
    assert all(f"| `{name}" in REFERENCE for name in named)
