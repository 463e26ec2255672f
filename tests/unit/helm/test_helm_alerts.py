"""The chart's alerts as Prometheus' own promtool judges them: each fires when it should, and resolves."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.helm import Json
from tests.support.pages import ROOT
from tests.support.prometheus import ALERTS, program, queries, rules

# promtool is built where it is not yet.
pytestmark = pytest.mark.timeout(1800)
REFERENCE = (ROOT / "docs/reference.md").read_text()
TROUBLESHOOTING = (ROOT / "docs/troubleshooting.md").read_text()


def bad(is_well: float, is_not: float) -> str:
    """A gauge that is well for five minutes, then not for an hour, then well again."""
    return f"{is_well}x5 {is_not}x60 {is_well}x90"


COUNTS = "0x5 0+120x60 7320x90"
"""A counter that counts two a second in that hour."""
NODE = '{node="a",instance="198.18.0.1:9470"}'
DROPPED = 'quilt_runtime_dropped_packets_total{node="a",reason="%s",direction="in"}'
PLANTED: dict[str, dict[str, str]] = {
    "QuiltNodeNotInSync": {f"quilt_agent_in_sync{NODE}": bad(1, 0)},
    "QuiltNodesDown": {'quilt_operator_nodes{phase="Down"}': bad(0, 2)},
    "QuiltAgentsUnresponsive": {"quilt_operator_agents_unresponsive": bad(0, 1)},
    "QuiltWithdrawalPaused": {"quilt_operator_withdrawal_paused": bad(0, 1)},
    "QuiltNoLeader": {"quilt_operator_leader": bad(1, 0)},
    "QuiltSubnetsExhausted": {'quilt_operator_subnets{family="IPv4",state="free"}': bad(9, 0)},
    "QuiltFaultyClaims": {"quilt_operator_faulty_claims": bad(0, 1)},
    "QuiltWatchSilent": {'quilt_agent_api_watch_age_seconds{node="a",watch="quiltsubnets"}': bad(20, 900)},
    "QuiltPathFailing": {'quilt_probes_peers{node="a",state="failing"}': bad(0, 1)},
    "QuiltPathNarrow": {f"quilt_probes_narrow_peers{NODE}": bad(0, 1)},
    "QuiltRuntimeGone": {f"quilt_agent_runtime_ready{NODE}": bad(1, 0)},
    "QuiltAddressesFew": {
        f"quilt_runtime_addresses_allocated{NODE}": bad(5, 240),
        f"quilt_runtime_addresses_capacity{NODE}": "253x160",
    },
    "QuiltCniFailing": {'quilt_runtime_cni_failures_total{node="a",verb="ADD",code="11"}': COUNTS},
    "QuiltPodsWaitForPolicies": {f"quilt_policy_waiting_pods{NODE}": bad(0, 3)},
    "QuiltDriftRepeats": {'quilt_runtime_drift_repairs_total{node="a",kind="table"}': COUNTS},
    "QuiltForwardDropped": {f"quilt_runtime_foreign_drop_chains{NODE}": bad(0, 1)},
    "QuiltConnectionsFull": {
        f"quilt_runtime_conntrack_entries{NODE}": bad(100, 250_000),
        f"quilt_runtime_conntrack_limit{NODE}": "262144x160",
    },
    "QuiltNeighborsFull": {'quilt_runtime_neighbour_overflows_total{node="a",family="IPv4"}': COUNTS},
    "QuiltUnknownPeer": {DROPPED % "overlay_unknown_peer": COUNTS},
    "QuiltForgedSources": {DROPPED % "guard_address": COUNTS},
    "QuiltOverlayErrors": {'quilt_runtime_overlay_errors_total{node="a",direction="out"}': COUNTS},
}


def promtool(*arguments: str | Path) -> None:
    """Run promtool; fails with its own words."""
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def firing(alert: str, minute: int, count: int) -> Json:
    """Promtool's expectation of how many alerts fire at a time."""
    expr = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    samples = [{"labels": "{}", "value": count}] if count else []
    return {"expr": expr, "eval_time": f"{minute}m", "exp_samples": samples}


def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", "--lint-fatal", ALERTS)
    assert [rule["alert"] for rule in rules()] == list(PLANTED)


def test_each_alert_is_quiet_fires_and_resolves(tmp_path: Path) -> None:
    """Nothing fires while all is well; after the hour of its cause each does, and later no more."""
    cases: list[Json] = [
        {
            "name": alert,
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in planted.items()],
            "promql_expr_test": [firing(alert, 5, 0), firing(alert, 60, 1), firing(alert, 150, 0)],
        }
        for alert, planted in PLANTED.items()
    ]
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": cases}))
    promtool("test", "rules", file)


@pytest.mark.parametrize(
    ("labels", "named"), [(NODE, "a"), ('{instance="198.18.0.1:9470"}', "198.18.0.1:9470")]
)
def test_an_alert_names_the_node_or_the_target(tmp_path: Path, labels: str, named: str) -> None:
    (rule,) = (rule for rule in rules() if rule["alert"] == "QuiltNodeNotInSync")
    series = {"series": f"quilt_agent_in_sync{labels}", "values": "0x20"}
    summary = f"The kernel of {named} is not as the mesh wants it."
    own = dict(re.findall(r'(\w+)="(.*?)"', labels))
    expected = {"exp_labels": {**rule["labels"], **own}, "exp_annotations": {"summary": summary}}
    test = {"eval_time": "15m", "alertname": rule["alert"], "exp_alerts": [expected]}
    case = {"interval": "1m", "input_series": [series], "alert_rule_test": [test]}
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [case]}))
    promtool("test", "rules", file)


def test_each_alert_leads_to_a_section_of_its_own(render: Any) -> None:
    rule = render({"monitoring": {"prometheusRule": {"enabled": True}}})["PrometheusRule/quilt-mesh"]
    sections = re.findall(r"^### (\w+)$", TROUBLESHOOTING, re.MULTILINE)
    found = [one for group in rule["spec"]["groups"] for one in group["rules"]]
    assert [one["alert"] for one in found] == sections
    for one in found:
        page, _, anchor = one["annotations"]["runbook_url"].partition("#")
        assert page.endswith("/docs/troubleshooting.md")
        assert anchor == one["alert"].lower()


def test_dashboards_ask_for_metrics_that_exist(render: Any) -> None:
    asked = {name for expr in queries().values() for name in re.findall(r"quilt_\w+", expr)}
    histograms = {name: re.sub("_(bucket|count)$", "", name) for name in asked}
    assert len(asked) > 30
    assert [name for name, of in histograms.items() if f"| `{of}" not in REFERENCE] == []
    objects = render({"monitoring": {"dashboards": {"enabled": True}}})
    assert {name for name in objects if "dashboard" in name} == {
        "ConfigMap/quilt-dashboard-mesh",
        "ConfigMap/quilt-dashboard-node",
    }
