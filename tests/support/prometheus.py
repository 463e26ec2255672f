"""The chart's alerts and dashboards, and the programs of Prometheus, built where they are not yet."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from quilt_crds.names import AGENT_HEALTH_PORT, OPERATOR_HEALTH_PORT, RUNTIME_HEALTH_PORT
from quilt_devcluster import binaries
from quilt_devcluster.tools import PROMETHEUS
from quilt_kube.listwatch import SILENCE
from tests.support.mesh import Mesh, until

FILES = Path(__file__).parents[2] / "helm/quilt-mesh/files"
ALERTS = FILES / "alerts.yaml"


def program(name: str) -> Path:
    """Return `prometheus` or `promtool`."""
    return binaries.build(PROMETHEUS, lambda _: None) / name


def rules() -> list[dict[str, Any]]:
    """Return the chart's rules."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> dict[str, str]:
    """Return what the panels of all dashboards ask, by dashboard, panel and legend."""
    found = {}
    for path in sorted(FILES.glob("dashboards/*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                found[f"{path.stem}: {panel['title']}: {target['legendFormat']}"] = target["expr"]
    return found


PORT = 9490
WINDOW = "20s"
"""Of rules and panels: some ten scrapes."""
SILENT_S = SILENCE + 15
"""More than what a watch may be silent before it is begun again."""
JOBS = {"agent": AGENT_HEALTH_PORT, "runtime": RUNTIME_HEALTH_PORT, "operator": OPERATOR_HEALTH_PORT}


class Prometheus:
    """One that runs in a node's network, and is asked there."""

    def __init__(self, mesh: Mesh, node: str) -> None:
        self._mesh = mesh
        self._node = node

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the series that an expression has now."""
        found: list[dict[str, Any]] = self._get(f"query?query={quote(expr)}")["result"]
        return found

    def panel(self, expr: str) -> list[dict[str, Any]]:
        """Return the series of a dashboard's query, of all nodes."""
        return self.query(expr.replace("$__rate_interval", WINDOW).replace("$node", ".+"))

    def by_node(self, expr: str) -> dict[str, float]:
        """Return the values of an expression that has one for each node."""
        return {one["metric"]["node"]: float(one["value"][1]) for one in self.query(expr)}

    def up(self) -> int:
        """Return how many agents and runtimes are scraped."""
        return len(self.query('up{job=~"agent|runtime"} == 1'))

    def firing(self) -> set[tuple[str, str]]:
        """Return the alerts that fire: their names, and the nodes that they name, empty where none."""
        found = [one["metric"] for one in self.query('ALERTS{alertstate="firing"}')]
        return {(labels["alertname"], labels.get("node", "")) for labels in found}

    def metadata(self) -> set[str]:
        """Return the names of all metrics that a target describes."""
        return set(self._get("metadata"))

    def is_ready(self) -> bool:
        """Whether it answers."""
        return self._mesh.reaches(self._node, f"http://127.0.0.1:{PORT}/-/ready")

    def _get(self, path: str) -> Any:
        answer = self._mesh.on(self._node, "curl", "-sf", f"http://127.0.0.1:{PORT}/api/v1/{path}")
        return json.loads(answer)["data"]


@contextmanager
def scraping(mesh: Mesh, node: str, folder: Path) -> Iterator[Prometheus]:
    """Run Prometheus in the network of a node, with the chart's rules, which have no patience here."""
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "quilt", "rules": _hasty()}]}))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(_settings(mesh, folder)))
    command = [
        "nsenter",
        f"--net={mesh.cluster.node_netns(node)}",
        str(program("prometheus")),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{PORT}",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            found = Prometheus(mesh, node)
            until("Prometheus is ready", found.is_ready, timeout=60)
            yield found
        finally:
            process.kill()


def _hasty() -> list[dict[str, Any]]:
    """Return the rules with a second's patience, short windows, and SILENT_S for five minutes."""

    def hasty(expr: str) -> str:
        return re.sub(r"\[\d+m\]", f"[{WINDOW}]", expr).replace("_seconds > 300", f"_seconds > {SILENT_S:g}")

    return [{**rule, "for": "1s", "expr": hasty(rule["expr"])} for rule in rules()]


def _settings(mesh: Mesh, folder: Path) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [f"{mesh.cluster.node_ip(node)}:{port}"], "labels": {"node": node}}
                    for node in mesh.nodes()
                ],
            }
            for job, port in JOBS.items()
        ],
    }
